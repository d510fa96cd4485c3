using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Tests.Host;

public sealed class ResponseWritingTests
{
    /// <summary>Lists that are no <c>List</c> are written element by element; the sizes lie around those at which an answer is sent in pieces.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    [InlineData(2_000)]
    [InlineData(4_000)]
    [InlineData(5_000)]
    [InlineData(50_000)]
    public async Task Message_WithAListOfAnyLength_IsWrittenToItsEnd(int elements)
    {
        using var body = new MemoryStream();
        var context = new DefaultHttpContext();
        context.Features.Set<IHttpResponseBodyFeature>(new StreamResponseBodyFeature(body));
        var events = Enumerable.Range(0, elements).Select(number => $"event-{number:D6}").ToHashSet();
        // A serializer that makes no headway does so without waiting for anything.
        var writing = Task.Run(() => context.Response.WriteMessageAsync(new TelemetrySettings(true, [.. events], 0), CancellationToken.None));
        Assert.Same(writing, await Task.WhenAny(writing, Task.Delay(TimeSpan.FromMinutes(1))));
        await writing;
        await context.Response.CompleteAsync();
        var read = System.Text.Json.JsonDocument.Parse(body.ToArray()).RootElement.GetProperty("disable_ui_events");
        Assert.Equal(events, read.EnumerateArray().Select(each => each.GetString()!).ToHashSet());
    }
}
