namespace MlflowCompat.Search.Tests;

/// <summary>The verdicts of contract search §2, by the numbers that they have there.</summary>
public sealed class RunsTests
{
    private const string IdOfA = "a0000000000000000000000000000001";
    private const string IdOfC = "c0000000000000000000000000000003";

    private static readonly Item[] Runs =
    [
        Run("A", IdOfA, 100, 900, "FINISHED", "u1") with
        {
            Metrics = new() { ["acc"] = .9, ["loss"] = .1, ["m 1"] = 5, ["a/b"] = 1 },
            Params = new() { ["lr"] = "0.1", ["p 1"] = "x", ["p.dot"] = "v", ["Case"] = "Up" },
            Tags = new() { ["mlflow.runName"] = "A", ["t"] = "one", ["team/x"] = "q", ["k.d"] = "1" },
            Datasets = [Input("ds1", "d1", "train")],
        },
        Run("B", "b0000000000000000000000000000002", 200, 800, "FAILED", "u2") with
        {
            Metrics = new() { ["acc"] = .5, ["loss"] = double.NaN },
            Params = new() { ["lr"] = "0.01" },
            Tags = new() { ["mlflow.runName"] = "B", ["t"] = "two" },
            Datasets = [Input("ds2", "d2", "test"), Input("ds1", "d1", "train")],
        },
        Run("C", IdOfC, 300, null, "RUNNING", "U1") with
        {
            Metrics = new() { ["acc"] = .9 },
            Params = new() { ["lr"] = "0.1%" },
            Tags = new() { ["mlflow.runName"] = "C", ["t"] = "One" },
            Datasets = [Input("ds3", "d3", null)],
        },
        Run("D", "d0000000000000000000000000000004", 400, 700, "KILLED", "u1") with
        {
            Metrics = new() { ["loss"] = -1 },
            Tags = new() { ["mlflow.runName"] = "D", ["t"] = "it's" },
        },
        Run("E", "e0000000000000000000000000000005", 400, null, "SCHEDULED", "u1") with
        {
            Metrics = new() { ["acc"] = double.NaN },
            Params = new() { ["lr"] = "a_b" },
            Tags = new() { ["mlflow.runName"] = "E", ["t"] = "a\"b" },
        },
        Run("F_x", "f0000000000000000000000000000006", 50, 60, "FINISHED", "u1") with
        {
            Metrics = new() { ["acc"] = .2 },
            Params = new() { ["lr"] = "axb" },
            Tags = new() { ["mlflow.runName"] = "F_x" },
        },
    ];

    [Theory]
    [InlineData(1, "metrics.acc > 0.5", "A C")]
    [InlineData(2, "metric.acc >= 0.9", "A C")]
    [InlineData(3, "metrics.acc != 0.9", "B E F_x")]
    [InlineData(4, "metrics.acc < 1", "A B C E F_x")]
    [InlineData(5, "metrics.acc <= .5", "B E F_x")]
    [InlineData(6, "metrics.loss = 0", "B")]
    [InlineData(7, "metrics.acc > 5e-1", "A C")]
    [InlineData(7, "metrics.acc > 00.5", "A C")]
    [InlineData(8, "metrics.acc > 1e400", "")]
    [InlineData(8, "metrics.missing > 0", "")]
    [InlineData(11, "metrics.acc>-1", "A B C E F_x")]
    [InlineData(12, "metrics.`m 1` = 5", "A")]
    [InlineData(12, "metrics.\"m 1\" = 5", "A")]
    [InlineData(12, "metrics.'m 1' = 5", "A")]
    [InlineData(14, "metrics.`a/b` = 1", "A")]
    [InlineData(15, "metrics.`a/b` = 1 AND metrics.`m 1` >= 5", "A")]
    [InlineData(17, "metrics.é > 1", "")]
    [InlineData(17, "metrics.1abc > 1", "")]
    [InlineData(19, "metrics.acc > 0.5 AND metrics.loss < 1", "A")]
    [InlineData(20, "metrics.acc > 0.5 and params.lr = '0.1'", "A")]
    [InlineData(25, "metrics.acc > 0.5 AND", "A C")]
    [InlineData(25, "AND metrics.acc > 0.5", "A C")]
    [InlineData(25, "metrics.acc > 0.5 AND AND metrics.loss < 1", "A")]
    [InlineData(25, "metrics.acc > 0.5 metrics.loss < 1", "A")]
    [InlineData(31, "params.lr = '0.1'", "A")]
    [InlineData(31, "params.lr = \"0.1\"", "A")]
    [InlineData(31, "param.lr = '0.1'", "A")]
    [InlineData(31, "parameter.lr = '0.1'", "A")]
    [InlineData(31, "parameters.lr = '0.1'", "A")]
    [InlineData(34, "params.lr != '0.1'", "B C E F_x")]
    [InlineData(35, "params.lr LIKE '0.1%'", "A C")]
    [InlineData(36, "params.lr LIKE 'a_b'", "E F_x")]
    [InlineData(37, "params.lr ILIKE 'A_B'", "E F_x")]
    [InlineData(37, "params.lr ilike 'A_B'", "E F_x")]
    [InlineData(40, "params.lr = ''", "")]
    [InlineData(41, "params.Case = 'up'", "")]
    [InlineData(41, "params.Case = 'Up'", "A")]
    [InlineData(41, "params.`Case` = 'Up'", "A")]
    [InlineData(42, "params.p.dot = 'v'", "A")]
    [InlineData(43, "tags.t != 'one'", "B C D E")]
    [InlineData(44, "tags.t ILIKE 'one'", "A C")]
    [InlineData(45, "tags.t = \"it's\"", "D")]
    [InlineData(46, "tags.t = 'it''s'", "")]
    [InlineData(46, "tags.t = 'it\\'s'", "")]
    [InlineData(47, "tags.t = 'a\"b'", "E")]
    [InlineData(48, "tags.k.d = '1'", "A")]
    [InlineData(48, "tags.`k.d` = '1'", "A")]
    [InlineData(49, "tags.`team/x` = 'q'", "A")]
    [InlineData(49, "tags.\"team/x\" = 'q'", "A")]
    [InlineData(50, "tags.mlflow.runName = 'A'", "A")]
    [InlineData(52, "status = 'FINISHED'", "A F_x")]
    [InlineData(52, "attributes.status = 'FINISHED'", "A F_x")]
    [InlineData(52, "attribute.status = 'FINISHED'", "A F_x")]
    [InlineData(52, "attr.status = 'FINISHED'", "A F_x")]
    [InlineData(52, "run.status = 'FINISHED'", "A F_x")]
    [InlineData(53, "status = 'finished'", "")]
    [InlineData(53, "status ILIKE 'fin%'", "A F_x")]
    [InlineData(56, "run_name = 'A'", "A")]
    [InlineData(56, "`run name` = 'A'", "A")]
    [InlineData(56, "\"run name\" = 'A'", "A")]
    [InlineData(56, "attributes.`Run name` = 'A'", "A")]
    [InlineData(56, "`Run Name` = 'A'", "A")]
    [InlineData(58, "run_name LIKE 'F_x'", "F_x")]
    [InlineData(58, "run_name LIKE 'f%'", "")]
    [InlineData(58, "run_name ILIKE 'f_X'", "F_x")]
    [InlineData(59, "start_time >= 200 AND start_time <= 300", "B C")]
    [InlineData(61, "start_time > 200.5", "C D E")]
    [InlineData(62, "created > 200", "C D E")]
    [InlineData(62, "attributes.Created = 100", "A")]
    [InlineData(63, "end_time < 1000", "A B D F_x")]
    [InlineData(63, "end_time != 900", "B D F_x")]
    [InlineData(64, "user_id LIKE 'u%'", "A B D E F_x")]
    [InlineData(64, "user_id ILIKE 'U1'", "A C D E F_x")]
    [InlineData(65, "artifact_uri LIKE '%artifacts'", "A B C D E F_x")]
    [InlineData(67, $"run_id IN ('{IdOfA}','{IdOfC}')", "A C")]
    [InlineData(67, $"run_id in ('{IdOfA}', '{IdOfC}')", "A C")]
    [InlineData(67, $"run_id IN ('{IdOfA}',)", "A")]
    [InlineData(67, $"run_id IN(\"{IdOfA}\",\"{IdOfC}\")", "A C")]
    [InlineData(68, $"run_id NOT IN ('{IdOfA}','{IdOfC}')", "B D E F_x")]
    [InlineData(70, "run_id IN ('ABC')", "")]
    [InlineData(71, "dataset.name = 'ds1'", "A B")]
    [InlineData(71, "datasets.name = 'ds1'", "A B")]
    [InlineData(72, "dataset.context != 'train'", "B")]
    [InlineData(73, "dataset.name != 'ds1'", "B C")]
    [InlineData(74, "dataset.name NOT IN ('ds1')", "B C")]
    [InlineData(75, "dataset.name IN ('DS1')", "")]
    [InlineData(75, "dataset.name ILIKE 'DS1'", "A B")]
    [InlineData(76, "dataset.name = 'ds1' AND dataset.context = 'test'", "B")]
    [InlineData(77, "dataset.name = 'ds1' AND status = 'FINISHED'", "A")]
    [InlineData(78, "dataset.name = 'ds1' AND params.lr = '0.1'", "A")]
    public void Filter_ValidRow_MatchesTheRunsOfTheTable(int row, string filter, string expected) =>
        Assert.Equal((row, expected), (row, Evaluator.Filter(Runs, FilterParser.Parse(filter, Vocabularies.Runs))));

    [Theory]
    [InlineData(9, "metrics.acc > '0.5'", "expected an unquoted number")]
    [InlineData(10, "metrics.acc > NaN", "expected an unquoted number")]
    [InlineData(10, "metrics.acc > +0.5", "expected an unquoted number")]
    [InlineData(10, "metrics.acc > .5e0", "expected an unquoted number")]
    [InlineData(10, "metrics.acc > 0x1", "expected an unquoted number")]
    [InlineData(10, "metrics.acc > - 1", "expected an unquoted number")]
    [InlineData(13, "metrics.a/b = 1", "Invalid clause(s) in filter string")]
    [InlineData(16, "metrics.val-loss > 1", "Invalid clause(s) in filter string")]
    [InlineData(16, "metrics.val:loss > 1", "Invalid clause(s) in filter string")]
    [InlineData(18, "Metrics.acc > 0.5", "Invalid entity type 'Metrics'")]
    [InlineData(21, "metrics.acc > 0.5 OR params.lr = '0.1'", "Invalid clause(s) in filter string: 'OR params")]
    [InlineData(22, "(metrics.acc > 0.5)", "Invalid clause(s) in filter string")]
    [InlineData(23, "NOT metrics.acc > 0.5", "Invalid clause(s) in filter string: 'NOT metrics")]
    [InlineData(24, "metrics.acc > 0.5;", "Invalid clause(s) in filter string: ';'")]
    [InlineData(24, "metrics.acc > 1; metrics.loss < 2", "Invalid clause(s) in filter string: '; metrics")]
    [InlineData(26, "metrics.acc == 0.9", "Invalid comparator '=='")]
    [InlineData(26, "metrics.acc <> 0.9", "Invalid comparator '<>'")]
    [InlineData(27, "0.5 < metrics.acc", "Invalid clause(s) in filter string")]
    [InlineData(28, "metrics.acc BETWEEN 0 AND 1", "Invalid comparator 'BETWEEN'")]
    [InlineData(28, "metrics.acc IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData(28, "params.lr IS NOT NULL", "Invalid comparator 'IS NOT NULL'")]
    [InlineData(28, "metrics.acc", "Invalid clause(s) in filter string: 'metrics.acc'")]
    [InlineData(29, "acc > 0.5", "Invalid attribute key 'acc' specified. Valid keys: run_id, run_name, ")]
    [InlineData(30, "metrics.acc IN (0.9)", "Invalid comparator 'IN' for metric 'acc'")]
    [InlineData(32, "params.lr = 0.1", "expected a quoted text for param 'lr'")]
    [InlineData(33, "params.lr = `0.1`", "expected a quoted text")]
    [InlineData(38, "params.lr NOT LIKE '0%'", "Invalid comparator 'NOT LIKE'")]
    [InlineData(38, "params.lr > '0.1'", "Invalid comparator '>' for param 'lr'. Valid comparators: =, !=, LIKE, ILIKE")]
    [InlineData(39, "params.lr IN ('0.1','0.01')", "Invalid comparator 'IN' for param")]
    [InlineData(39, "tags.t IN ('one')", "Invalid comparator 'IN' for tag")]
    [InlineData(49, "tags.team/x = 'q'", "Invalid clause(s) in filter string")]
    [InlineData(51, "\"tags\".t = 'one'", "Invalid clause(s) in filter string")]
    [InlineData(54, "status = FINISHED", "expected a quoted text for attribute 'status'")]
    [InlineData(55, "status IN ('FINISHED','FAILED')", "Invalid comparator 'IN' for attribute 'status'")]
    [InlineData(57, "Run Name = 'A'", "Invalid comparator 'Name'")]
    [InlineData(57, "name = 'A'", "Invalid attribute key 'name'")]
    [InlineData(57, "attributes.name = 'A'", "Invalid attribute key 'name'")]
    [InlineData(60, "start_time > '200'", "expected an unquoted number")]
    [InlineData(60, "start_time LIKE '2%'", "Invalid comparator 'LIKE'")]
    [InlineData(60, "start_time IN (100)", "Invalid comparator 'IN'")]
    [InlineData(66, "experiment_id = '1'", "Invalid attribute key 'experiment_id'")]
    [InlineData(66, "lifecycle_stage = 'active'", "Invalid attribute key 'lifecycle_stage'")]
    [InlineData(66, "run_uuid = 'x'", "Invalid attribute key 'run_uuid'")]
    [InlineData(69, "run_id IN ()", "expected a list of quoted texts")]
    [InlineData(69, $"run_id IN ('{IdOfA}', 5)", "expected a list of quoted texts")]
    [InlineData(69, $"run_id IN '{IdOfA}'", "expected a list of quoted texts")]
    [InlineData(79, "dataset.source = 'x'", "Invalid dataset key 'source' specified. Valid keys: name, digest, context")]
    [InlineData(79, "dataset.name > 'x'", "Invalid comparator '>' for dataset 'name'")]
    [InlineData(79, "dataset = 'x'", "Invalid attribute key 'dataset'")]
    [InlineData(79, "dataset.name = ds1", "expected a quoted text")]
    [InlineData(80, "metrics.acc > 0.5 -- x", "Invalid clause(s) in filter string: '-- x'")]
    [InlineData(80, "metrics.acc > 0.5 /* c */", "Invalid clause(s) in filter string: '/* c */'")]
    [InlineData(81, "tags.t = 'one", "the quote is not closed")]
    [InlineData(81, "tags.`t = 'one'", "the quote is not closed")]
    [InlineData(82, "params.lr = TRUE", "expected a quoted text")]
    [InlineData(82, "params.lr = NULL", "expected a quoted text")]
    public void Filter_InvalidRow_IsRefusedNamingTheReason(int row, string filter, string message)
    {
        SearchSyntaxException error =
            Assert.Throws<SearchSyntaxException>(() => FilterParser.Parse(filter, Vocabularies.Runs));
        Assert.True(error.Message.Contains(message, StringComparison.Ordinal), $"row {row}: {error.Message}");
    }

    [Theory]
    [InlineData("D E C B A F_x")]
    [InlineData("C A B F_x E D", "metrics.acc DESC")]
    [InlineData("F_x B C A E D", "metrics.acc ASC")]
    [InlineData("F_x B C A E D", "metrics.acc")]
    [InlineData("D A B E C F_x", "metrics.loss ASC")]
    [InlineData("A D B E C F_x", "metrics.loss DESC")]
    [InlineData("B A C E F_x D", "params.lr")]
    [InlineData("F_x E C A B D", "params.lr DESC")]
    [InlineData("F_x D B A E C", "end_time")]
    [InlineData("A B D F_x E C", "end_time DESC")]
    [InlineData("B A F_x D C E", "status", "metrics.acc DESC")]
    [InlineData("A D E C B F_x", "metrics.`m 1` DESC")]
    [InlineData("A D E C B F_x", "metrics.\"m 1\" DESC")]
    [InlineData("D E C B A F_x", "metrics.foo")]
    [InlineData("F_x A B C D E", "attributes.created")]
    [InlineData("F_x A B C D E", "Created")]
    [InlineData("F_x E D C B A", "tags.mlflow.runName DESC")]
    [InlineData("A B C D E F_x", "run_id")]
    [InlineData("C D E A F_x B", "user_id")]
    [InlineData("A B C D E F_x", "artifact_uri")]
    [InlineData("F_x E D C B A", "run_name desc")]
    public void OrderBy_ValidRow_OrdersTheRunsAsTheTable(string expected, params string[] orderBy) =>
        Assert.Equal(expected, Evaluator.Order(Runs, OrderByParser.Parse(orderBy, Vocabularies.Runs)));

    [Theory]
    [InlineData("metrics.m 1 DESC", "Invalid order_by clause: 'metrics.m 1 DESC'")]
    [InlineData("metrics.acc DESCENDING", "Invalid order_by clause")]
    [InlineData("metrics.acc, metrics.loss", "Invalid order_by clause")]
    [InlineData("metrics.acc DESC nulls last", "Invalid order_by clause")]
    [InlineData("metrics.acc nulls last", "Invalid order_by clause")]
    [InlineData("", "Invalid order_by clause")]
    [InlineData(" ", "Invalid order_by clause")]
    [InlineData(null, "Invalid order_by clause")]
    [InlineData("DESC", "Invalid attribute key 'DESC'")]
    [InlineData("foo", "Invalid attribute key 'foo' specified. Valid keys: run_id, run_name, status,")]
    [InlineData("dataset.name", "Invalid dataset key 'name'")]
    [InlineData("experiment_id", "Invalid attribute key 'experiment_id'")]
    [InlineData("`run name`", "Invalid attribute key 'run name'")]
    [InlineData("metrics.a/b", "Invalid order_by clause")]
    [InlineData("metrics.", "Invalid order_by clause")]
    [InlineData("Metrics.acc", "Invalid entity type 'Metrics'")]
    public void OrderBy_InvalidRow_IsRefusedNamingTheReason(string? element, string message)
    {
        SearchSyntaxException error =
            Assert.Throws<SearchSyntaxException>(() => OrderByParser.Parse([element], Vocabularies.Runs));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    private static Item Run(string name, string id, long start, long? end, string status, string user)
    {
        Dictionary<string, long> times = new() { ["start_time"] = start };
        if (end is long time)
        {
            times["end_time"] = time;
        }

        return new(name)
        {
            Numbers = times,
            Texts = new()
            {
                ["run_id"] = id,
                ["run_name"] = name,
                ["status"] = status,
                ["user_id"] = user,
                ["artifact_uri"] = $"mlflow-artifacts:/1/{id}/artifacts",
            },
        };
    }

    private static Dictionary<string, string> Input(string name, string digest, string? context)
    {
        Dictionary<string, string> input = new() { ["name"] = name, ["digest"] = digest };
        if (context is not null)
        {
            input["context"] = context;
        }

        return input;
    }
}
