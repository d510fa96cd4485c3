using System.Globalization;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Measuring;

namespace MlflowCompat.Bench.Workloads;

/// <summary>Workloads of small artifacts, through the proxy.</summary>
internal static class Files
{
    private const int FileBytes = 4096;

    /// <summary>How many there are to be read.</summary>
    private const int ReadFiles = 100;

    private static readonly byte[] FileMember = "\"is_dir\""u8.ToArray();

    /// <summary>PUT of files that are not there yet, in the runs' own folders.</summary>
    public static IReadOnlyList<Operation> Upload(WorkloadContext context)
    {
        var server = context.Client.Server;
        var content = Content();
        return context.ForEachRun(run =>
        {
            var folder = RunFolder(context, run.Id);
            return connection =>
            {
                connection.Request.Clear().Append(content);
                connection.Put(server.ArtifactPath(string.Create(CultureInfo.InvariantCulture, $"{folder}/file-{run.Take(1)}.bin")));
            };
        });
    }

    /// <summary>GET of files, one after the other.</summary>
    public static IReadOnlyList<Operation> Download(WorkloadContext context)
    {
        var server = context.Client.Server;
        var folder = Fill(context);
        var paths = Enumerable.Range(0, ReadFiles).Select(i => server.ArtifactPath(NameOf(folder, i))).ToList();
        return context.ForEach(first =>
        {
            var next = first;
            return connection =>
            {
                connection.Count([]);
                connection.Get(paths[next++ % ReadFiles]);
                if (connection.Body.Length != FileBytes)
                    throw new UnexpectedAnswerException($"the file has {connection.Body.Length} bytes instead of {FileBytes}");
            };
        });
    }

    /// <summary>The list of a folder.</summary>
    public static IReadOnlyList<Operation> List(WorkloadContext context)
    {
        var path = context.Client.Server.ArtifactListPath(Fill(context));
        return context.ForEach(_ => connection =>
        {
            connection.Count(FileMember);
            connection.Get(path);
            connection.Expect(ReadFiles, path);
        });
    }

    /// <summary>Makes the files that are read, and returns their folder.</summary>
    private static string Fill(WorkloadContext context)
    {
        var server = context.Client.Server;
        var folder = RunFolder(context, context.Client.CreateRun(context.ExperimentId, "artifacts", Writing.Now()));
        using var connection = new HttpConnection(server);
        for (var i = 0; i < ReadFiles; i++)
        {
            connection.Request.Clear().Append(Content());
            connection.Put(server.ArtifactPath(NameOf(folder, i)));
        }

        return folder;
    }

    private static string RunFolder(WorkloadContext context, string runId) => $"{context.ExperimentId}/{runId}/artifacts";

    private static string NameOf(string folder, int number) => string.Create(CultureInfo.InvariantCulture, $"{folder}/read-{number}.bin");

    private static byte[] Content()
    {
        var content = new byte[FileBytes];
        new Random(1).NextBytes(content);
        return content;
    }
}
