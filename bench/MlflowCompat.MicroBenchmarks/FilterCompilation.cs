using BenchmarkDotNet.Attributes;
using MlflowCompat.Search;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.MicroBenchmarks;

/// <summary>From the filter and order of a search to its statement.</summary>
[MemoryDiagnoser]
public class FilterCompilation
{
    private const string Filter =
        "metrics.m1 > 0.9 AND params.p1 = 'v3' AND tags.t = 't3' AND attributes.run_name LIKE '%7%' AND attributes.start_time > 1767225600000";

    private static readonly List<string> Order = ["metrics.m1 ASC", "params.p1 DESC"];
    private static readonly long[] Experiments = [1];

    private readonly Database database = BackendStoreUri.Parse("postgresql://localhost/none", Conditions.DefineSqliteFunctions);

    /// <summary>Text to syntax tree.</summary>
    [Benchmark]
    public Filter Parse() => FilterParser.Parse(Filter, Vocabularies.Runs);

    /// <summary>Text to SQL with its parameters, for PostgreSQL.</summary>
    [Benchmark]
    public Statement ParseAndCompile() => RunSearch.Compile(
        database,
        Experiments,
        ViewType.ActiveOnly,
        FilterParser.Parse(Filter, Vocabularies.Runs),
        OrderByParser.Parse(Order, Vocabularies.Runs),
        rows: 100,
        offset: 0).ToStatement();
}
