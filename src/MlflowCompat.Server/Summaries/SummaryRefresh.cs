using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Summaries;

/// <summary>
/// Refreshes the summary views on schedule (mapping C-56): when the server starts and then every few minutes, where something has changed,
/// and on one server among several.
/// </summary>
/// <param name="database">The workspace's database.</param>
/// <param name="options">How often.</param>
/// <param name="logger">Where it says what it could not do.</param>
public sealed class SummaryRefresh(Database database, ServerOptions options, ILogger<SummaryRefresh> logger) : BackgroundService
{
    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (database.Kind == DatabaseKind.Sqlite || options.ViewRefreshInterval == TimeSpan.Zero)
            return;
        using var timer = new PeriodicTimer(options.ViewRefreshInterval);
        do
        {
            foreach (var view in SummaryView.All)
            {
                try
                {
                    await view.RefreshIfChangedAsync(database, stoppingToken).ConfigureAwait(false);
                }
                catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
                {
                    logger.ViewRefreshFailed(view.Name, exception.Message);
                }
            }
        }
        while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false));
    }
}
