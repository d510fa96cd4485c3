using System.Buffers.Text;
using System.Text;

namespace MlflowCompat.Bench.Http;

/// <summary>
/// The request that a connection is about to send. The body is written first, behind room for the head, so that its length is known when
/// the head is written in front of it and both leave with one system call. Nothing is allocated once it has grown to its size.
/// </summary>
internal sealed class RequestBuffer
{
    private const int HeadRoom = 2048;
    private const int LongestNumber = 32;

    private byte[] buffer = new byte[16 * 1024];
    private int end = HeadRoom;

    /// <summary>The body that was written so far, valid until more is; what has a fixed length may be written over.</summary>
    public Span<byte> Body => buffer.AsSpan(HeadRoom..end);

    /// <summary>Starts a new request without a body.</summary>
    public RequestBuffer Clear()
    {
        end = HeadRoom;
        return this;
    }

    /// <summary>Appends JSON text.</summary>
    public RequestBuffer Append(ReadOnlySpan<byte> json)
    {
        Reserve(json.Length);
        json.CopyTo(buffer.AsSpan(end));
        end += json.Length;
        return this;
    }

    /// <summary>Appends text as it is: for ids and names that need no escape.</summary>
    public RequestBuffer Append(string text)
    {
        Reserve(Encoding.UTF8.GetMaxByteCount(text.Length));
        end += Encoding.UTF8.GetBytes(text, buffer.AsSpan(end));
        return this;
    }

    /// <summary>Appends an integer.</summary>
    public RequestBuffer Append(long number)
    {
        Reserve(LongestNumber);
        Utf8Formatter.TryFormat(number, buffer.AsSpan(end), out var written);
        end += written;
        return this;
    }

    /// <summary>Appends a finite double.</summary>
    public RequestBuffer Append(double number)
    {
        Reserve(LongestNumber);
        Utf8Formatter.TryFormat(number, buffer.AsSpan(end), out var written);
        end += written;
        return this;
    }

    /// <summary>Writes the head of a POST in front of the body and returns the whole request.</summary>
    /// <param name="server">Where it goes.</param>
    /// <param name="path">The target.</param>
    /// <param name="headers">What says of which type the body is, and whatever else it takes; lines without a line break at the end.</param>
    public ReadOnlyMemory<byte> Post(ServerAddress server, ReadOnlySpan<byte> path, ReadOnlySpan<byte> headers)
    {
        var start = HeadRoom;
        PrependLength(ref start, end - HeadRoom);
        Prepend(ref start, "\r\nContent-Length: "u8);
        Prepend(ref start, headers);
        Prepend(ref start, "\r\n"u8);
        return Head(start, "POST "u8, server, path);
    }

    /// <summary>Writes the head of a PUT in front of the body and returns the whole request.</summary>
    public ReadOnlyMemory<byte> Put(ServerAddress server, ReadOnlySpan<byte> path) => Put(server, path, end - HeadRoom);

    /// <summary>Writes the head of a PUT whose body is sent by itself, and returns it.</summary>
    /// <param name="server">Where it goes.</param>
    /// <param name="path">The target.</param>
    /// <param name="bodyLength">Bytes of the body.</param>
    public ReadOnlyMemory<byte> PutHead(ServerAddress server, ReadOnlySpan<byte> path, long bodyLength)
    {
        Clear();
        return Put(server, path, bodyLength);
    }

    /// <summary>Writes a GET and returns it.</summary>
    public ReadOnlyMemory<byte> Get(ServerAddress server, ReadOnlySpan<byte> path)
    {
        Clear();
        var start = HeadRoom;
        Prepend(ref start, "\r\n\r\n"u8);
        return Head(start, "GET "u8, server, path);
    }

    private ReadOnlyMemory<byte> Put(ServerAddress server, ReadOnlySpan<byte> path, long bodyLength)
    {
        var start = HeadRoom;
        PrependLength(ref start, bodyLength);
        Prepend(ref start, "\r\nContent-Length: "u8);
        return Head(start, "PUT "u8, server, path);
    }

    private void PrependLength(ref int start, long length)
    {
        Span<byte> digits = stackalloc byte[LongestNumber];
        Utf8Formatter.TryFormat(length, digits, out var count);
        Prepend(ref start, "\r\n\r\n"u8);
        Prepend(ref start, digits[..count]);
    }

    private ReadOnlyMemory<byte> Head(int start, ReadOnlySpan<byte> method, ServerAddress server, ReadOnlySpan<byte> path)
    {
        Prepend(ref start, server.HostHeader);
        Prepend(ref start, " HTTP/1.1\r\nHost: "u8);
        Prepend(ref start, path);
        Prepend(ref start, method);
        return buffer.AsMemory(start..end);
    }

    private void Prepend(ref int start, ReadOnlySpan<byte> text)
    {
        start -= text.Length;
        text.CopyTo(buffer.AsSpan(start));
    }

    private void Reserve(int bytes)
    {
        if (end + bytes > buffer.Length)
            Array.Resize(ref buffer, Math.Max(buffer.Length * 2, end + bytes));
    }
}
