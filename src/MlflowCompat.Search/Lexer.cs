using System.Buffers;
using System.Text;

namespace MlflowCompat.Search;

/// <summary>An identifier as written: <c>[ entity "." ] key</c>, without the quotes.</summary>
internal readonly ref struct Identifier
{
    public Identifier(ReadOnlySpan<char> key) => Key = key;

    public Identifier(ReadOnlySpan<char> entity, ReadOnlySpan<char> key)
    {
        HasEntity = true;
        Entity = entity;
        Key = key;
    }

    public bool HasEntity { get; }

    /// <summary>Whether anything of it stood in quotes.</summary>
    public bool IsQuoted { get; init; }

    public ReadOnlySpan<char> Entity { get; }

    public ReadOnlySpan<char> Key { get; }
}

/// <summary>
/// Cuts a text into what the grammar of contract search §1 calls identifiers, comparators and literals. The same quotes
/// mean a key on the left of a comparator and a text on its right, so the parser asks for what may stand next.
/// </summary>
internal ref struct Lexer
{
    private readonly ReadOnlySpan<char> _source;
    private readonly string _complaint;

    /// <param name="source">The text.</param>
    /// <param name="complaint">What errors begin with.</param>
    /// <param name="maxLength">The most UTF-16 units that the text may have.</param>
    /// <exception cref="SearchSyntaxException">
    /// The text is too long, or contains U+0000 or half a surrogate pair, which no database could take as a parameter.
    /// </exception>
    public Lexer(ReadOnlySpan<char> source, string complaint, int maxLength)
    {
        _source = source;
        _complaint = complaint;
        if (source.Length > maxLength)
        {
            throw new SearchSyntaxException(
                $"{complaint}: it has {source.Length} characters, at most {maxLength} are allowed");
        }

        int bad = IndexOfUnstorable(source);
        if (bad >= 0)
        {
            throw new SearchSyntaxException(
                $"{complaint}: the character U+{(int)source[bad]:X4} at position {bad} is not allowed");
        }
    }

    public int Position { get; private set; }

    public readonly bool AtEnd => Position == _source.Length;

    /// <summary>U+0000, which no source contains, at the end.</summary>
    private readonly char Current => AtEnd ? '\0' : _source[Position];

    public static bool IsKeyword(ReadOnlySpan<char> word, string keyword) => Ascii.EqualsIgnoreCase(word, keyword);

    public readonly ReadOnlySpan<char> Since(int start) => _source[start..Position];

    /// <summary>The error for what begins at <paramref name="start"/>.</summary>
    public readonly SearchSyntaxException Error(int start, string reason) =>
        new($"{_complaint}: {SearchSyntaxException.Quote(_source[start..])} ({reason})");

    public void SkipBlanks()
    {
        while (!AtEnd && char.IsWhiteSpace(_source[Position]))
        {
            Position++;
        }
    }

    public bool TryTake(char expected)
    {
        if (Current != expected)
        {
            return false;
        }

        Position++;
        return true;
    }

    /// <summary>Takes letters, digits, underscores and dots; empty when none follows.</summary>
    public ReadOnlySpan<char> TakeWord()
    {
        int start = Position;
        while (BareLength(_source[Position..]) is > 0 and int length)
        {
            Position += length;
        }

        return Since(start);
    }

    /// <summary>Takes the characters that comparators are made of; empty when none follows.</summary>
    public ReadOnlySpan<char> TakeSymbols()
    {
        int start = Position;
        while (Current is '=' or '!' or '<' or '>')
        {
            Position++;
        }

        return Since(start);
    }

    public Identifier TakeIdentifier()
    {
        int start = Position;
        if (char.IsAsciiDigit(Current))
        {
            throw Error(start, "a clause begins with the name of what is compared");
        }

        if (TryTakeQuotedKey("\"", out ReadOnlySpan<char> key))
        {
            return new(NotEmpty(start, key)) { IsQuoted = true };
        }

        ReadOnlySpan<char> entity;
        bool isQuoted = false;
        if (TryTakeQuotedKey("`", out ReadOnlySpan<char> first))
        {
            if (!TryTake('.'))
            {
                return new(NotEmpty(start, first)) { IsQuoted = true };
            }

            isQuoted = true;
            entity = first;
            key = TakeWord();
        }
        else
        {
            ReadOnlySpan<char> word = TakeWord();
            int dot = word.IndexOf('.');
            if (dot < 0)
            {
                return new(NotEmpty(start, word));
            }

            entity = word[..dot];
            key = word[(dot + 1)..];
        }

        if (key.IsEmpty && TryTakeQuotedKey("`\"'", out ReadOnlySpan<char> quoted))
        {
            isQuoted = true;
            key = NotEmpty(start, quoted);
        }
        else if (key is [.., '.'] && TryTakeQuotedKey("`", out quoted))
        {
            // The last part of a key, as in span.attributes.`a b`.
            key = string.Concat(key, NotEmpty(start, quoted));
        }

        // A bare key may be empty, though nothing can be logged under such a name: the reference takes it and finds nothing.
        return new(entity, key) { IsQuoted = isQuoted };
    }

    /// <summary>
    /// Takes a text in single or double quotes. A doubled quote does not end it and stays doubled: <c>'it''s'</c> is
    /// <c>it''s</c>. Nor does a quote after a backslash, and both stay – <c>'it\'s'</c> is <c>it\'s</c> – unless what
    /// follows can only come after a value, so that <c>'C:\'</c> is a text too.
    /// </summary>
    public bool TryTakeText(out ReadOnlySpan<char> text)
    {
        int start = Position;
        char quote = Current;
        if (quote is not ('\'' or '"'))
        {
            text = default;
            return false;
        }

        for (int i = start + 1; i < _source.Length; i++)
        {
            if (_source[i] != quote)
            {
                continue;
            }

            if (_source[i - 1] == '\\')
            {
                if (!EndsValue(i + 1))
                {
                    continue;
                }
            }
            else if (i + 1 < _source.Length && _source[i + 1] == quote)
            {
                i++;
                continue;
            }

            Position = i + 1;
            text = _source[(start + 1)..i];
            return true;
        }

        throw Error(start, "the quote is not closed");
    }

    /// <summary>Takes a number as <see cref="NumberLength"/> defines it.</summary>
    public bool TryTakeNumber(out ReadOnlySpan<char> number)
    {
        number = _source.Slice(Position, NumberLength(_source[Position..]));
        Position += number.Length;
        return !number.IsEmpty;
    }

    /// <summary>
    /// The length of the number at the start of a text, 0 if there is none: <c>-</c>? then digits with an optional
    /// fraction and exponent, or digits with a point at the end, or a point and digits without exponent. A plus sign
    /// stands nowhere, and nothing that continues a word may follow.
    /// </summary>
    public static int NumberLength(ReadOnlySpan<char> text)
    {
        int i = text is ['-', ..] ? 1 : 0;
        int whole = CountDigits(text[i..]);
        i += whole;
        int fraction = 0;
        bool point = i < text.Length && text[i] == '.';
        if (point)
        {
            fraction = CountDigits(text[(i + 1)..]);
            i += 1 + fraction;
        }

        if (whole + fraction == 0)
        {
            return 0;
        }

        if (whole > 0 && (!point || fraction > 0) && text[i..] is ['e' or 'E', ..])
        {
            int digits = text[(i + 1)..] is ['-', ..] ? i + 2 : i + 1;
            int exponent = CountDigits(text[digits..]);
            if (exponent > 0)
            {
                i = digits + exponent;
            }
        }

        return BareLength(text[i..]) == 0 ? i : 0;
    }

    private static int IndexOfUnstorable(ReadOnlySpan<char> source)
    {
        int i = 0;
        while (true)
        {
            int next = source[i..].IndexOfAnyInRange('\uD800', '\uDFFF');
            int zero = (next < 0 ? source[i..] : source.Slice(i, next)).IndexOf('\0');
            if (zero >= 0)
            {
                return i + zero;
            }

            if (next < 0)
            {
                return -1;
            }

            i += next;
            if (Rune.DecodeFromUtf16(source[i..], out _, out int length) != OperationStatus.Done)
            {
                return i;
            }

            i += length;
        }
    }

    /// <summary>The length of the letter, digit, underscore or dot at the start of the rest; 0 if there is none.</summary>
    private static int BareLength(ReadOnlySpan<char> rest)
    {
        if (rest.IsEmpty)
        {
            return 0;
        }

        char first = rest[0];
        if (char.IsAscii(first))
        {
            return char.IsAsciiLetterOrDigit(first) || first is '_' or '.' ? 1 : 0;
        }

        return Rune.DecodeFromUtf16(rest, out Rune rune, out int length) == OperationStatus.Done
            && Rune.IsLetterOrDigit(rune) ? length : 0;
    }

    private readonly ReadOnlySpan<char> NotEmpty(int start, ReadOnlySpan<char> key) => key.IsEmpty
        ? throw Error(start, "a key is missing or has characters that need quoting, as in tags.`a/b`")
        : key;

    /// <summary>Takes a key in one of <paramref name="quotes"/>; it ends at the next such quote.</summary>
    private bool TryTakeQuotedKey(string quotes, out ReadOnlySpan<char> key)
    {
        char quote = Current;
        if (!quotes.Contains(quote, StringComparison.Ordinal))
        {
            key = default;
            return false;
        }

        int length = _source[(Position + 1)..].IndexOf(quote);
        if (length < 0)
        {
            throw Error(Position, "the quote is not closed");
        }

        key = _source.Slice(Position + 1, length);
        Position += length + 2;
        return true;
    }

    private readonly bool EndsValue(int position)
    {
        ReadOnlySpan<char> rest = _source[position..].TrimStart();
        return rest.IsEmpty
            || rest[0] is ',' or ')'
            || (rest.Length >= 3 && IsKeyword(rest[..3], "AND") && BareLength(rest[3..]) == 0);
    }

    private static int CountDigits(ReadOnlySpan<char> text)
    {
        int length = text.IndexOfAnyExceptInRange('0', '9');
        return length < 0 ? text.Length : length;
    }
}
