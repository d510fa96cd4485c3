using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Xml.Linq;
using Microsoft.OpenApi;

namespace MlflowCompat.Server.Http;

/// <summary>
/// The OpenAPI description of the API at <c>/openapi/v1.json</c>. It is made from what the endpoints themselves are made of: the route
/// table, and the descriptions by which their messages are read and written. Made when it is first asked for.
/// </summary>
public static class ApiDescription
{
    private static readonly string[] ReadMethods = [HttpMethods.Get, HttpMethods.Head];

    /// <summary>Maps the endpoint.</summary>
    public static void MapApiDescription(this IEndpointRouteBuilder endpoints)
    {
        var document = new Lazy<byte[]>(() => Write(endpoints.DataSources.SelectMany(source => source.Endpoints)));
        endpoints.MapMethods("/openapi/v1.json", ReadMethods, async context =>
        {
            context.Response.ContentType = ResponseWriting.JsonMediaType;
            await context.Response.BodyWriter.WriteAsync(document.Value, context.RequestAborted).ConfigureAwait(false);
        });
    }

    private static byte[] Write(IEnumerable<Endpoint> endpoints)
    {
        var text = new StringBuilder();
        using (var writer = new StringWriter(text, CultureInfo.InvariantCulture))
            new ApiDocument(endpoints).Document.SerializeAsV31(new OpenApiJsonWriter(writer));
        return Encoding.UTF8.GetBytes(text.ToString());
    }
}

/// <summary>Puts the document together.</summary>
internal sealed class ApiDocument
{
    private const string ApiPrefix = "/api/";
    private const string AjaxPrefix = "/ajax-api/";
    private const string ErrorResponse = "Error";

    private readonly Dictionary<string, Type> schemas = [];
    private readonly DocumentationComments comments = DocumentationComments.Load();

    /// <summary>Describes endpoints; those that speak no messages are left out.</summary>
    public ApiDocument(IEnumerable<Endpoint> endpoints)
    {
        Document = new OpenApiDocument
        {
            Info = new OpenApiInfo
            {
                Title = MlflowApp.Product,
                Version = MlflowApp.ProductVersion,
                Description = $"A tracking server for MLflow clients, API level {MlflowApp.ApiVersion}. Every path is served under /ajax-api as well.",
            },
            Paths = [],
            Tags = new HashSet<OpenApiTag>(),
        };
        Document.AddComponent(ErrorResponse, new OpenApiResponse
        {
            Description = "Something is wrong with the request, or with the server.",
            Content = Json(Schema(typeof(ErrorBody))),
        });

        var routes = endpoints.OfType<RouteEndpoint>().Where(endpoint => endpoint.Metadata.GetMetadata<MlflowOperation>() is not null).ToList();
        var paths = routes.Select(route => route.RoutePattern.RawText!).ToHashSet(StringComparer.Ordinal);
        foreach (var route in routes)
        {
            var path = route.RoutePattern.RawText!;
            if (!path.StartsWith(AjaxPrefix, StringComparison.Ordinal) || !paths.Contains(ApiPrefix + path[AjaxPrefix.Length..]))
                Add(path, route.Metadata.GetRequiredMetadata<IHttpMethodMetadata>().HttpMethods[0], route.Metadata.GetRequiredMetadata<MlflowOperation>());
        }
    }

    /// <summary>The document.</summary>
    public OpenApiDocument Document { get; }

    private void Add(string path, string method, MlflowOperation messages)
    {
        // /api/2.0/mlflow/experiments/get-by-name
        var steps = path.Split('/')[4..];
        var version = path.Split('/')[2] is var number && number == "2.0" ? "" : $"V{number[0]}";
        var tag = steps[0];
        Document.Tags!.Add(new OpenApiTag { Name = tag });
        var operation = new OpenApiOperation
        {
            OperationId = method.ToLowerInvariant() + string.Concat(steps.SelectMany(step => step.Trim('{', '}').Split('-', '_')).Select(Capitalized)) + version,
            Tags = new HashSet<OpenApiTagReference> { new(tag, Document) },
            Responses = new OpenApiResponses
            {
                ["200"] = new OpenApiResponse
                {
                    Description = "Done.",
                    Content = Json(Schema(messages.Response)),
                },
                ["default"] = new OpenApiResponseReference(ErrorResponse, Document),
            },
        };
        operation.Parameters = [.. Fields(messages.Request).Where(InPathAttribute.IsOn).Select(field => Parameter(field, ParameterLocation.Path))];
        if (method == HttpMethods.Get)
            operation.Parameters = [.. operation.Parameters, .. Properties(messages.Request).Select(field => Parameter(field, ParameterLocation.Query))];
        else if (method != HttpMethods.Delete || Properties(messages.Request).Any())
            operation.RequestBody = new OpenApiRequestBody { Content = Json(Schema(messages.Request)), Required = true };

        if (!Document.Paths.TryGetValue(path, out var item))
            Document.Paths.Add(path, item = new OpenApiPathItem());
        ((OpenApiPathItem)item).AddOperation(HttpMethod.Parse(method), operation);
    }

    private OpenApiParameter Parameter(JsonPropertyInfo field, ParameterLocation place) => new()
    {
        Name = field.Name,
        In = place,
        Required = place == ParameterLocation.Path,
        Description = comments.Of(field),
        Schema = Schema(field.PropertyType),
    };

    /// <summary>The schema of a type; those of messages and enums are kept once and referred to.</summary>
    private IOpenApiSchema Schema(Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        if (type == typeof(string) || type == typeof(EmbeddedJson))
            return new OpenApiSchema { Type = JsonSchemaType.String };
        if (type == typeof(bool))
            return new OpenApiSchema { Type = JsonSchemaType.Boolean };
        if (type == typeof(int))
            return new OpenApiSchema { Type = JsonSchemaType.Integer, Format = "int32" };
        if (type == typeof(long))
            return new OpenApiSchema { Type = JsonSchemaType.Integer, Format = "int64" };
        if (type == typeof(double))
            return Double();
        if (type == typeof(JsonElement))
            return new OpenApiSchema();
        if (type.IsEnum)
            return Named(type, () => Enum(type));
        var info = MlflowJson.Options.GetTypeInfo(type);
        return info.Kind switch
        {
            JsonTypeInfoKind.Enumerable => new OpenApiSchema { Type = JsonSchemaType.Array, Items = Schema(info.ElementType!) },
            JsonTypeInfoKind.Dictionary => new OpenApiSchema { Type = JsonSchemaType.Object, AdditionalProperties = Schema(info.ElementType!) },
            JsonTypeInfoKind.Object => Named(type, () => Object(type)),
            _ => throw new InvalidOperationException($"The API description does not know how {type} looks."),
        };
    }

    /// <summary>JSON has no numbers for these values, so they are texts (contract: semantics §2).</summary>
    private static OpenApiSchema Double() => new()
    {
        AnyOf =
        [
            new OpenApiSchema { Type = JsonSchemaType.Number, Format = "double" },
            new OpenApiSchema { Type = JsonSchemaType.String, Enum = ["NaN", "Infinity", "-Infinity"] },
        ],
    };

    private static OpenApiSchema Enum(Type type) => new()
    {
        Type = JsonSchemaType.String,
        Enum = [.. System.Enum.GetValues(type).Cast<object>().Select(value => JsonSerializer.SerializeToNode(value, MlflowJson.Options.GetTypeInfo(type))!)],
    };

    private OpenApiSchema Object(Type type)
    {
        var schema = new OpenApiSchema
        {
            Type = JsonSchemaType.Object,
            Description = comments.Of(type),
            Properties = new Dictionary<string, IOpenApiSchema>(),
            Required = new HashSet<string>(),
        };
        foreach (var property in Properties(type))
        {
            var value = Schema(property.PropertyType);
            // What stands beside a reference describes its use here.
            if (comments.Of(property) is { } description)
            {
                if (value is OpenApiSchemaReference reference)
                    reference.Description = description;
                else
                    ((OpenApiSchema)value).Description = description;
            }

            schema.Properties.Add(property.Name, value);
            if (!property.IsGetNullable && Nullable.GetUnderlyingType(property.PropertyType) is null)
                schema.Required.Add(property.Name);
        }

        return schema;
    }

    private OpenApiSchemaReference Named(Type type, Func<OpenApiSchema> make)
    {
        if (schemas.TryAdd(type.Name, type))
            Document.AddComponent(type.Name, make());
        else if (schemas[type.Name] != type)
            throw new InvalidOperationException($"Two messages are called {type.Name}.");
        return new OpenApiSchemaReference(type.Name, Document);
    }

    /// <summary>The fields of a message that do not stand in the path.</summary>
    private static IEnumerable<JsonPropertyInfo> Properties(Type message) => Fields(message).Where(field => !InPathAttribute.IsOn(field));

    /// <summary>What can be read but not written is a second spelling of a name.</summary>
    private static IEnumerable<JsonPropertyInfo> Fields(Type message) =>
        MlflowJson.Options.GetTypeInfo(message).Properties.Where(property => property.Get is not null);

    private static Dictionary<string, OpenApiMediaType> Json(IOpenApiSchema schema) => new()
    {
        [ResponseWriting.JsonMediaType] = new OpenApiMediaType { Schema = schema },
    };

    private static string Capitalized(string word) => char.ToUpperInvariant(word[0]) + word[1..];
}

/// <summary>The documentation comments of this assembly, which the build puts beside it.</summary>
internal sealed class DocumentationComments
{
    private readonly Dictionary<string, XElement> members = [];

    /// <summary>Reads them; without the file there are none.</summary>
    public static DocumentationComments Load()
    {
        var comments = new DocumentationComments();
        var path = Path.Combine(AppContext.BaseDirectory, $"{typeof(DocumentationComments).Assembly.GetName().Name}.xml");
        if (File.Exists(path))
        {
            foreach (var member in XDocument.Load(path).Descendants("member"))
                comments.members[(string)member.Attribute("name")!] = member;
        }

        return comments;
    }

    /// <summary>What is said about a type.</summary>
    public string? Of(Type type) => Text(Member($"T:{type.FullName}")?.Element("summary"));

    /// <summary>What is said about a property, or about the parameter that a record makes it from.</summary>
    public string? Of(JsonPropertyInfo property)
    {
        if (property.AttributeProvider is not MemberInfo { DeclaringType: { } type } member)
            return null;
        return Text(Member($"P:{type.FullName}.{member.Name}")?.Element("summary")
            ?? Member($"T:{type.FullName}")?.Elements("param").FirstOrDefault(parameter => (string?)parameter.Attribute("name") == member.Name));
    }

    private XElement? Member(string name)
    {
        var member = members.GetValueOrDefault(name);
        return (string?)member?.Element("inheritdoc")?.Attribute("cref") is { } source ? Member(source) : member;
    }

    private static string? Text(XElement? element)
    {
        if (element is null)
            return null;
        var words = string.Concat(element.Nodes().Select(node => node switch
        {
            XText text => text.Value,
            XElement { IsEmpty: true } reference => Referred((string?)reference.Attributes().FirstOrDefault() ?? ""),
            XElement inner => inner.Value,
            _ => null,
        }));
        return string.Join(' ', words.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
    }

    /// <summary>What is referred to, as users of the API know it: fields by their names on the wire.</summary>
    private static string Referred(string reference)
    {
        var name = reference.Split('.', ':')[^1];
        return reference.StartsWith("P:", StringComparison.Ordinal) ? JsonNamingPolicy.SnakeCaseLower.ConvertName(name) : name;
    }
}
