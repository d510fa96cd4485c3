using System.Buffers.Binary;
using System.Text;

namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>Reads protobuf's wire format, field by field, from bytes in memory. Nothing is copied but texts.</summary>
/// <param name="message">The message.</param>
internal ref struct ProtobufReader(ReadOnlySpan<byte> message)
{
    private readonly ReadOnlySpan<byte> message = message;
    private int position;
    private int wireType;

    /// <summary>Number of the field that was read last.</summary>
    public int Field { get; private set; }

    /// <summary>Goes on to the next field, whose value has to be read or skipped next; false at the end of the message.</summary>
    /// <exception cref="OtlpFormatException">The bytes are no such message.</exception>
    public bool Next()
    {
        if (position == message.Length)
            return false;
        var tag = Varint();
        Field = (int)(tag >> 3);
        wireType = (int)(tag & 7);
        return Field > 0 && tag <= uint.MaxValue ? true : throw Malformed();
    }

    /// <summary>An embedded message, or bytes.</summary>
    public ReadOnlySpan<byte> Bytes()
    {
        Require(2);
        var length = Varint();
        if (length > (ulong)(message.Length - position))
            throw Malformed();
        var bytes = message.Slice(position, (int)length);
        position += (int)length;
        return bytes;
    }

    /// <summary>A text. What is no UTF-8, or U+0000, becomes U+FFFD: exporters cut texts anywhere, and PostgreSQL stores neither.</summary>
    public string Text() => Encoding.UTF8.GetString(Bytes()).Replace('\0', '\uFFFD');

    /// <summary>An integer, an enum or a bool.</summary>
    public ulong Integer()
    {
        Require(0);
        return Varint();
    }

    /// <summary>A fixed64.</summary>
    public ulong Fixed64()
    {
        Require(1);
        return BinaryPrimitives.ReadUInt64LittleEndian(Take(8));
    }

    /// <summary>Passes over the value of a field that is not wanted.</summary>
    public void Skip()
    {
        switch (wireType)
        {
            case 0:
                Varint();
                break;
            case 1:
                Take(8);
                break;
            case 2:
                Bytes();
                break;
            case 5:
                Take(4);
                break;
            default:
                // Groups, which this protocol has never had.
                throw Malformed();
        }
    }

    private ulong Varint()
    {
        ulong value = 0;
        for (var shift = 0; shift < 70 && position < message.Length; shift += 7)
        {
            var next = message[position++];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
                return value;
        }

        throw Malformed();
    }

    private ReadOnlySpan<byte> Take(int length)
    {
        if (length > message.Length - position)
            throw Malformed();
        position += length;
        return message.Slice(position - length, length);
    }

    private readonly void Require(int expected)
    {
        if (wireType != expected)
            throw Malformed();
    }

    private static OtlpFormatException Malformed() => new("it is no valid protobuf message of this type");
}

/// <summary>A body that is no export request.</summary>
/// <param name="reason">What is wrong with it, for people.</param>
internal sealed class OtlpFormatException(string reason) : Exception(reason);

/// <summary>A span that is well-formed and cannot be one of MLflow's.</summary>
/// <param name="reason">What is wrong with it, for people.</param>
internal sealed class SpanFormatException(string reason) : Exception(reason);

/// <summary>An export that is larger than what is taken at a time; nothing of it is stored.</summary>
/// <param name="limit">What it has more than.</param>
internal sealed class OtlpTooLargeException(string limit) : Exception($"The export has more than {limit}; send fewer spans at a time.");

/// <summary>A span that is larger than any that is stored; the others of its export are.</summary>
internal sealed class SpanTooLargeException : Exception;
