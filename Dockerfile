# The server on SQLite and local files under /data; every setting is an environment variable of `mlflow server`.
FROM mcr.microsoft.com/dotnet/sdk:10.0 AS build
ENV DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
WORKDIR /source

# Packages change rarely: restored by themselves they stay in the cache of layers.
COPY global.json Directory.Build.props Directory.Packages.props ./
COPY src/MlflowCompat.Artifacts/MlflowCompat.Artifacts.csproj src/MlflowCompat.Artifacts/
COPY src/MlflowCompat.Search/MlflowCompat.Search.csproj src/MlflowCompat.Search/
COPY src/MlflowCompat.Storage/MlflowCompat.Storage.csproj src/MlflowCompat.Storage/
COPY src/MlflowCompat.Server/MlflowCompat.Server.csproj src/MlflowCompat.Server/
RUN dotnet restore src/MlflowCompat.Server --use-current-runtime

COPY .editorconfig ./
COPY migrations migrations
COPY src src
RUN dotnet publish src/MlflowCompat.Server --configuration Release --use-current-runtime --self-contained false --no-restore --output /app && mkdir /data

# Ubuntu without shell or package manager.
FROM mcr.microsoft.com/dotnet/aspnet:10.0-noble-chiseled
COPY --from=build /app /app
# 1654 is the image's own user "app".
COPY --from=build --chown=1654:1654 /data /data

# Without diagnostics the runtime writes nothing outside of /data, so the root file system can be read-only.
ENV DOTNET_EnableDiagnostics=0 \
    MLFLOW_HOST=0.0.0.0 \
    MLFLOW_PORT=5000 \
    MLFLOW_BACKEND_STORE_URI=sqlite:////data/mlflow-compat.db \
    MLFLOW_ARTIFACTS_DESTINATION=/data/artifacts

USER 1654:1654
WORKDIR /data
VOLUME /data
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/app/mlflow-compat", "health"]
ENTRYPOINT ["/app/mlflow-compat"]
CMD ["server"]
