using System.Numerics;

namespace MlflowCompat.Bench.Measuring;

/// <summary>
/// Counts latencies in buckets whose width grows with the latency, so that any number of them takes the same memory and a percentile is
/// off by less than 1 %.
/// </summary>
internal sealed class LatencyHistogram
{
    private const int BitsPerOctave = 7;
    private const int BucketsPerOctave = 1 << BitsPerOctave;

    private readonly long[] buckets = new long[(64 - BitsPerOctave) * BucketsPerOctave];

    /// <summary>How many latencies were added.</summary>
    public long Count { get; private set; }

    /// <summary>The longest one in nanoseconds.</summary>
    public long Max { get; private set; }

    /// <summary>Adds a latency in nanoseconds.</summary>
    public void Add(long nanoseconds)
    {
        var value = Math.Max(0, nanoseconds);
        buckets[Bucket(value)]++;
        Count++;
        Max = Math.Max(Max, value);
    }

    /// <summary>Adds all latencies of another histogram.</summary>
    public void Add(LatencyHistogram other)
    {
        for (var i = 0; i < buckets.Length; i++)
            buckets[i] += other.buckets[i];
        Count += other.Count;
        Max = Math.Max(Max, other.Max);
    }

    /// <summary>The latency in milliseconds that <paramref name="share"/> of all are not above; 0 when there are none.</summary>
    public double Milliseconds(double share)
    {
        var rank = (long)Math.Ceiling(share * Count);
        long seen = 0;
        for (var i = 0; i < buckets.Length && Count > 0; i++)
        {
            seen += buckets[i];
            if (seen >= rank && buckets[i] > 0)
                return Math.Min(UpperBound(i), Max) / 1e6;
        }

        return 0;
    }

    private static int Bucket(long value)
    {
        var octave = Math.Max(0, 63 - BitOperations.LeadingZeroCount((ulong)value) - BitsPerOctave);
        return (octave * BucketsPerOctave) + (int)(value >> octave);
    }

    /// <summary>The buckets of an octave begin in its middle, because the lower half belongs to the octave before.</summary>
    private static long UpperBound(int bucket)
    {
        var octave = Math.Max(0, (bucket / BucketsPerOctave) - 1);
        return (((long)bucket - (octave * BucketsPerOctave) + 1) << octave) - 1;
    }
}
