using System.Buffers.Text;
using System.Net.Sockets;
using System.Text;

namespace MlflowCompat.Bench.Http;

/// <summary>
/// One keep-alive HTTP/1.1 connection, used by one thread, which it blocks: a request costs two system calls and one switch of threads,
/// which leaves the processors to the server. It reads answers with a Content-Length and chunked ones.
/// </summary>
internal sealed class HttpConnection : IDisposable
{
    /// <summary>A server that says nothing for so long is an error.</summary>
    private const int PatienceMilliseconds = 120_000;

    /// <summary>Longer bodies are counted while they arrive and not kept.</summary>
    private const int LargestKeptBody = 8 * 1024 * 1024;

    private static ReadOnlySpan<byte> JsonHeaders => "Content-Type: application/json"u8;

    private readonly ServerAddress server;
    private readonly byte[] input;
    private int inputStart;
    private int inputEnd;

    private byte[] body = new byte[16 * 1024];
    private int bodyLength;
    private byte[] pattern = [];
    private Socket? socket;
    private ReceivedPiece? receiver;
    private bool closing;

    /// <summary>Names the server; the connection is opened by the first request, or by <see cref="Open"/>.</summary>
    /// <param name="server">The server.</param>
    /// <param name="inputBytes">How much it receives at a time.</param>
    public HttpConnection(ServerAddress server, int inputBytes = 64 * 1024)
    {
        this.server = server;
        input = new byte[inputBytes];
    }

    /// <summary>The request under construction.</summary>
    public RequestBuffer Request { get; } = new();

    /// <summary>The body of the last answer; of one longer than 8 MiB its end.</summary>
    public ReadOnlySpan<byte> Body => body.AsSpan(0, bodyLength);

    /// <summary>How often the text given to <see cref="Count"/> occurred in the last answer.</summary>
    public int Matches { get; private set; }

    /// <summary>Bytes of bodies received so far.</summary>
    public long BytesReceived { get; private set; }

    /// <summary>Takes the bodies of good answers piece by piece; they are not kept then.</summary>
    public ReceivedPiece? Receiver { get; set; }

    /// <summary>Counts a text in the answers from now on, as a check that they hold what was asked for.</summary>
    public void Count(byte[] text) => pattern = text;

    /// <summary>Connects.</summary>
    /// <exception cref="SocketException">Nobody listens.</exception>
    public void Open()
    {
        if (socket is not null)
            return;
        var opened = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = PatienceMilliseconds };
        try
        {
            opened.Connect(server.Host, server.Port);
        }
        catch
        {
            opened.Dispose();
            throw;
        }

        socket = opened;
        inputStart = inputEnd = 0;
    }

    /// <summary>Sends <see cref="Request"/> as a POST and reads the answer, which has to have status 200.</summary>
    /// <exception cref="UnexpectedAnswerException">It has another one, or is no answer.</exception>
    /// <exception cref="SocketException">The connection broke.</exception>
    public void Post(ReadOnlySpan<byte> path)
    {
        var status = TryPost(path);
        if (status != 200)
            throw Unexpected(path, status);
    }

    /// <summary>Sends <see cref="Request"/> as a POST with headers of its own, and reads the answer, which has to have status 200.</summary>
    /// <inheritdoc cref="RequestBuffer.Post"/>
    /// <inheritdoc cref="Post(ReadOnlySpan{byte})"/>
    public void Post(ReadOnlySpan<byte> path, ReadOnlySpan<byte> headers)
    {
        var status = Exchange(Request.Post(server, path, headers).Span);
        if (status != 200)
            throw Unexpected(path, status);
    }

    /// <summary>Sends <see cref="Request"/> as a PUT and reads the answer, which has to have status 200.</summary>
    /// <inheritdoc cref="Post(ReadOnlySpan{byte})"/>
    public void Put(ReadOnlySpan<byte> path)
    {
        var status = Exchange(Request.Put(server, path).Span);
        if (status != 200)
            throw Unexpected(path, status);
    }

    /// <summary>Sends a file as a PUT, straight from the disk's cache, and reads the answer, which has to have status 200.</summary>
    /// <inheritdoc cref="Post(ReadOnlySpan{byte})"/>
    public void PutFile(ReadOnlySpan<byte> path, string file)
    {
        var status = Exchange(Request.PutHead(server, path, new FileInfo(file).Length).Span, file);
        if (status != 200)
            throw Unexpected(path, status);
    }

    /// <summary>Sends a GET and reads the answer, which has to have status 200.</summary>
    /// <inheritdoc cref="Post(ReadOnlySpan{byte})"/>
    public void Get(ReadOnlySpan<byte> path)
    {
        var status = TryGet(path);
        if (status != 200)
            throw Unexpected(path, status);
    }

    /// <summary>Sends <see cref="Request"/> as a POST and returns the status of the answer.</summary>
    public int TryPost(ReadOnlySpan<byte> path) => Exchange(Request.Post(server, path, JsonHeaders).Span);

    /// <summary>Sends a GET and returns the status of the answer.</summary>
    public int TryGet(ReadOnlySpan<byte> path) => Exchange(Request.Get(server, path).Span);

    /// <summary>Compares <see cref="Matches"/> with what the answer should hold.</summary>
    /// <exception cref="UnexpectedAnswerException">It holds another number.</exception>
    public void Expect(int matches, ReadOnlySpan<byte> path)
    {
        if (Matches != matches)
        {
            throw new UnexpectedAnswerException(
                $"{Encoding.UTF8.GetString(path)}: the answer has {Encoding.UTF8.GetString(pattern)} {Matches} times instead of {matches}");
        }
    }

    /// <summary>The value of a text member of the last answer, found by its name alone: for ids, which have no escapes.</summary>
    /// <param name="name">The name in quotes.</param>
    /// <exception cref="UnexpectedAnswerException">There is none.</exception>
    public string TextMember(ReadOnlySpan<byte> name)
    {
        var value = FindTextMember(name);
        return value.IsEmpty
            ? throw new UnexpectedAnswerException($"the answer has no {Encoding.UTF8.GetString(name)}")
            : Encoding.UTF8.GetString(value);
    }

    /// <summary>As <see cref="TextMember"/>, but empty when there is none.</summary>
    public ReadOnlySpan<byte> FindTextMember(ReadOnlySpan<byte> name)
    {
        var at = Body.LastIndexOf(name);
        if (at < 0)
            return default;
        var value = Body[(at + name.Length)..];
        value = value[(value.IndexOf((byte)'"') + 1)..];
        return value[..value.IndexOf((byte)'"')];
    }

    /// <summary>Closes the connection; the next request opens another one.</summary>
    public void Close()
    {
        socket?.Dispose();
        socket = null;
    }

    /// <inheritdoc/>
    public void Dispose() => Close();

    private int Exchange(ReadOnlySpan<byte> request, string? file = null)
    {
        Open();
        try
        {
            for (var rest = request; rest.Length > 0;)
                rest = rest[socket!.Send(rest, SocketFlags.None)..];
            if (file is not null)
                socket!.SendFile(file);
            var status = Receive();
            if (closing)
                Close();
            return status;
        }
        catch
        {
            // What else may arrive belongs to the request that failed.
            Close();
            throw;
        }
    }

    private int Receive()
    {
        bodyLength = 0;
        Matches = 0;
        closing = false;
        var head = ReadThrough("\r\n\r\n"u8);
        var line = NextLine(ref head);
        if (line.Length < 12 || !line.StartsWith("HTTP/1."u8) || !Utf8Parser.TryParse(line[9..12], out int status, out _))
            throw new UnexpectedAnswerException("the answer is not HTTP/1.1");
        long? length = null;
        var chunked = false;
        while ((line = NextLine(ref head)).Length > 0)
        {
            var colon = line.IndexOf((byte)':');
            if (colon < 0)
                continue;
            var value = line[(colon + 1)..].Trim((byte)' ');
            if (Ascii.EqualsIgnoreCase(line[..colon], "content-length"u8) && Utf8Parser.TryParse(value, out long given, out _))
                length = given;
            else if (Ascii.EqualsIgnoreCase(line[..colon], "transfer-encoding"u8))
                chunked = Ascii.EqualsIgnoreCase(value, "chunked"u8);
            else if (Ascii.EqualsIgnoreCase(line[..colon], "connection"u8))
                closing = Ascii.EqualsIgnoreCase(value, "close"u8);
        }

        receiver = status == 200 ? Receiver : null;
        if (chunked)
            ReadChunks();
        else if (length is { } bytes)
            ReadBody(bytes);
        else
            throw new UnexpectedAnswerException("the answer has neither Content-Length nor chunks");
        CountMatches();
        return status;
    }

    private static ReadOnlySpan<byte> NextLine(ref ReadOnlySpan<byte> head)
    {
        var end = head.IndexOf("\r\n"u8);
        var line = head[..end];
        head = head[(end + 2)..];
        return line;
    }

    private void ReadChunks()
    {
        while (true)
        {
            if (!Utf8Parser.TryParse(ReadThrough("\r\n"u8), out long length, out _, 'x'))
                throw new UnexpectedAnswerException("the answer has a chunk without a length");
            if (length > 0)
                ReadBody(length);
            ReadThrough("\r\n"u8);
            if (length == 0)
                return;
        }
    }

    private void ReadBody(long length)
    {
        BytesReceived += length;
        while (length > 0)
        {
            if (inputStart == inputEnd)
                Fill();
            var part = (int)Math.Min(length, inputEnd - inputStart);
            if (receiver is not null)
            {
                receiver(input.AsSpan(inputStart, part));
            }
            else
            {
                MakeRoom(part);
                input.AsSpan(inputStart, part).CopyTo(body.AsSpan(bodyLength));
                bodyLength += part;
            }

            inputStart += part;
            length -= part;
        }
    }

    private void MakeRoom(int bytes)
    {
        if (bodyLength + bytes <= body.Length)
            return;
        if (body.Length < LargestKeptBody)
        {
            Array.Resize(ref body, Math.Max(body.Length * 2, bodyLength + bytes));
            return;
        }

        CountMatches();
        // Short of one occurrence, so that none is counted twice and one that the cut goes through is still found.
        var kept = Math.Min(bodyLength, Math.Max(0, pattern.Length - 1));
        body.AsSpan(bodyLength - kept, kept).CopyTo(body);
        bodyLength = kept;
    }

    private void CountMatches()
    {
        if (pattern.Length == 0)
            return;
        var rest = Body;
        for (int at; (at = rest.IndexOf(pattern)) >= 0; rest = rest[(at + pattern.Length)..])
            Matches++;
    }

    /// <summary>What was received up to and with <paramref name="end"/>, valid until more is received.</summary>
    private ReadOnlySpan<byte> ReadThrough(ReadOnlySpan<byte> end)
    {
        while (true)
        {
            var received = input.AsSpan(inputStart..inputEnd);
            var at = received.IndexOf(end);
            if (at >= 0)
            {
                inputStart += at + end.Length;
                return received[..(at + end.Length)];
            }

            Fill();
        }
    }

    private void Fill()
    {
        if (inputStart == inputEnd)
        {
            inputStart = inputEnd = 0;
        }
        else if (inputEnd == input.Length)
        {
            if (inputStart == 0)
                throw new UnexpectedAnswerException("the answer has too long a head");
            input.AsSpan(inputStart..inputEnd).CopyTo(input);
            inputEnd -= inputStart;
            inputStart = 0;
        }

        var received = socket!.Receive(input.AsSpan(inputEnd), SocketFlags.None);
        if (received == 0)
            throw new UnexpectedAnswerException("the server closed the connection");
        inputEnd += received;
    }

    private UnexpectedAnswerException Unexpected(ReadOnlySpan<byte> path, int status) =>
        new($"{Encoding.UTF8.GetString(path)}: status {status}: {Encoding.UTF8.GetString(Body[..Math.Min(Body.Length, 300)])}");
}

/// <summary>Takes a piece of a body; it is valid during the call.</summary>
internal delegate void ReceivedPiece(ReadOnlySpan<byte> piece);

/// <summary>An answer that is not what the workload asked for; the message says what it is.</summary>
internal sealed class UnexpectedAnswerException(string message) : Exception(message);
