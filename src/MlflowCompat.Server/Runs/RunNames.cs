using System.Globalization;

namespace MlflowCompat.Server.Runs;

/// <summary>Names for runs that come without one: <c>adjective-noun-N</c>, at most 20 characters (contract: semantics §5).</summary>
public static class RunNames
{
    private const int MaxLength = 20;

    private static readonly string[] Adjectives =
    [
        "able", "amber", "bold", "brave", "brisk", "calm", "clean", "clear", "clever", "cosy", "crisp", "deft", "eager", "early", "fair",
        "fast", "fine", "firm", "fond", "fresh", "gentle", "glad", "golden", "good", "grand", "happy", "honest", "jolly", "keen", "kind",
        "light", "lively", "lucky", "merry", "mild", "neat", "nimble", "noble", "open", "patient", "plain", "polite", "proud", "quick",
        "quiet", "rare", "ready", "royal", "sharp", "silent", "silver", "simple", "smart", "smooth", "solid", "spry", "steady", "still",
        "strong", "sunny", "swift", "tidy", "vivid", "warm", "wise", "witty",
    ];

    private static readonly string[] Nouns =
    [
        "ant", "bear", "bee", "bird", "cat", "cod", "colt", "crab", "crane", "crow", "deer", "dog", "dove", "duck", "eel", "elk", "finch",
        "fish", "fox", "frog", "goat", "goose", "hare", "hawk", "hen", "heron", "horse", "ibis", "jay", "kite", "lamb", "lark", "lion",
        "loon", "lynx", "mole", "moth", "mouse", "newt", "otter", "owl", "ox", "panda", "perch", "pike", "pony", "pug", "quail", "ram",
        "raven", "robin", "seal", "shark", "sheep", "shrew", "snail", "squid", "stag", "stork", "swan", "tern", "toad", "trout", "whale",
        "wolf", "wren", "yak",
    ];

    /// <summary>A random name.</summary>
    public static string Next()
    {
        while (true)
        {
            var name = string.Create(
                CultureInfo.InvariantCulture,
                $"{Adjectives[Random.Shared.Next(Adjectives.Length)]}-{Nouns[Random.Shared.Next(Nouns.Length)]}-{Random.Shared.Next(1001)}");
            if (name.Length <= MaxLength)
                return name;
        }
    }
}
