using System.Buffers.Binary;
using System.Globalization;
using MlflowCompat.Bench.Workloads;

namespace MlflowCompat.Bench.Seeding;

/// <summary>
/// The traces that searches are measured on, with three spans each. As with <see cref="SeededRuns"/>, every value is a function of its number.
/// </summary>
internal static class SeededTraces
{
    /// <summary>How many values the tag t and the name of the last span have.</summary>
    public const int Kinds = 100;

    /// <summary>Name of the feedback that every tenth has; of those every tenth is <c>false</c>, the others <c>true</c>.</summary>
    public const string Feedback = "correct";

    /// <summary>Name of the experiment with so many traces.</summary>
    public static string Experiment(int traces) => string.Create(CultureInfo.InvariantCulture, $"bench-traces-{traces}");

    /// <summary>Id of trace number <paramref name="trace"/>, counted from 0.</summary>
    public static byte[] Id(int trace, int traces)
    {
        var id = new byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(id, (ulong)(trace + 1) * 0x9E3779B97F4A7C15);
        BinaryPrimitives.WriteInt32BigEndian(id.AsSpan(8), traces);
        return id;
    }

    /// <summary>When it began, milliseconds since 1970.</summary>
    public static long Start(int trace) => SeededRuns.StartTime(trace);

    /// <summary>How long it took, milliseconds; the factor is a prime, so that no two take as long.</summary>
    public static long Duration(int trace, int traces) => (trace * 7919L % traces) + 1;

    /// <summary>Its state.</summary>
    public static string State(int trace) => trace % 50 == 0 ? "ERROR" : "OK";

    /// <summary>Its tags; t has a hundred values, half has two.</summary>
    public static IEnumerable<(string Key, string Value)> TagsOf(int trace) =>
    [
        ("mlflow.traceName", "answer"),
        ("t", string.Create(CultureInfo.InvariantCulture, $"t{trace % Kinds}")),
        ("half", string.Create(CultureInfo.InvariantCulture, $"h{trace % 2}")),
    ];

    /// <summary>Its feedback; null for those that have none.</summary>
    public static bool? FeedbackOf(int trace) => trace % 10 == 3 ? trace % 100 != 3 : null;

    /// <summary>The spans of <see cref="Kinds"/> traces that follow each other, the first of them a multiple of it.</summary>
    public static SpanExport Export() => new(
        from trace in Enumerable.Range(0, Kinds)
        from number in Enumerable.Range(0, 3)
        select number switch
        {
            0 => new ExportedSpan(trace, number, "answer", "CHAIN", 200),
            1 => new ExportedSpan(trace, number, "retrieve", "RETRIEVER", 200),
            _ => new ExportedSpan(trace, number, string.Create(CultureInfo.InvariantCulture, $"tool-{trace}"), "TOOL", 200),
        });
}
