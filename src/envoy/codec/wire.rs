//! The wire format of protocol buffers, as far as reading needs it
//! (<https://protobuf.dev/programming-guides/encoding/>).

/// Nesting of groups that is followed while skipping; as in prost.
const MAX_GROUP_DEPTH: u32 = 100;

/// Why bytes are no message that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// They end in the middle of a field.
    #[error("truncated")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("a number is too long")]
    Overlong,
    /// A field number or wire type that does not exist.
    #[error("no such field key")]
    Key,
    /// A field that is read here has another wire type than its own.
    #[error("a field has the wrong type")]
    WrongType,
    /// A group that is not closed, not opened, or too deep.
    #[error("groups do not match")]
    Group,
    /// Over 4 GiB.
    #[error("too large")]
    TooLarge,
    /// Over 10,000 headers.
    #[error("too many headers")]
    TooManyHeaders,
    /// `attributes.request.http` is missing: not a request over HTTP, and so none that can be decided.
    #[error("attributes.request.http is missing")]
    NoHttp,
}

/// Where in the message some bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// All of a message.
    pub(crate) fn whole(bytes: &[u8]) -> Result<Self, Malformed> {
        let end = u32::try_from(bytes.len()).map_err(|_| Malformed::TooLarge)?;
        Ok(Self { start: 0, end })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Its bytes in the message that it was found in.
    pub(crate) fn of(self, message: &[u8]) -> &[u8] {
        message
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// Length-delimited: text, bytes or a message.
    Bytes(Span),
    /// A whole number, of any of the kinds that have one, or the bits of one with a fraction.
    Number(u64),
    /// A group, skipped: no field of that kind is wanted.
    Other,
}

impl Value {
    /// The bytes, which the field must have.
    pub(crate) fn bytes(self) -> Result<Span, Malformed> {
        match self {
            Self::Bytes(span) => Ok(span),
            Self::Number(_) | Self::Other => Err(Malformed::WrongType),
        }
    }

    /// The number, which the field must have.
    pub(crate) fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) | Self::Other => Err(Malformed::WrongType),
        }
    }
}

/// The fields of one message, in the order of the wire.
pub(crate) struct Fields<'m> {
    message: &'m [u8],
    at: usize,
    end: usize,
}

impl<'m> Fields<'m> {
    /// Those of the message that lies at `span` of `message`.
    pub(crate) fn of(message: &'m [u8], span: Span) -> Self {
        Self {
            message,
            at: span.start as usize,
            end: span.end as usize,
        }
    }

    /// Number and value of the next field; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value)>, Malformed> {
        if self.at == self.end {
            return Ok(None);
        }
        let (number, wire_type) = self.key()?;
        let value = match wire_type {
            WireType::Delimited => Value::Bytes(self.delimited()?),
            WireType::Varint => Value::Number(self.varint()?),
            WireType::Fixed64 => Value::Number(self.fixed::<8>()?),
            WireType::Fixed32 => Value::Number(self.fixed::<4>()?),
            other => {
                self.skip(number, other, MAX_GROUP_DEPTH)?;
                Value::Other
            }
        };
        Ok(Some((number, value)))
    }

    fn key(&mut self) -> Result<(u32, WireType), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed::Key)?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Delimited,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            _ => return Err(Malformed::Key),
        };
        match key >> 3 {
            0 => Err(Malformed::Key),
            number => Ok((number, wire_type)),
        }
    }

    fn skip(&mut self, number: u32, wire_type: WireType, depth: u32) -> Result<(), Malformed> {
        match wire_type {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.advance(8),
            WireType::Fixed32 => self.advance(4),
            WireType::Delimited => self.delimited().map(drop),
            WireType::GroupEnd => Err(Malformed::Group),
            WireType::GroupStart => loop {
                let deeper = depth.checked_sub(1).ok_or(Malformed::Group)?;
                match self.key()? {
                    (inner, WireType::GroupEnd) if inner == number => return Ok(()),
                    (inner, wire_type) => self.skip(inner, wire_type, deeper)?,
                }
            },
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Malformed::Overlong);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Overlong)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        if self.at >= self.end {
            return Err(Malformed::Truncated);
        }
        let byte = *self.message.get(self.at).ok_or(Malformed::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn delimited(&mut self) -> Result<Span, Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
        let start = self.at;
        self.advance(length)?;
        let place = |at: usize| u32::try_from(at).map_err(|_| Malformed::TooLarge);
        Ok(Span {
            start: place(start)?,
            end: place(self.at)?,
        })
    }

    /// A number of `N` bytes, the lowest first.
    fn fixed<const N: usize>(&mut self) -> Result<u64, Malformed> {
        let start = self.at;
        self.advance(N)?;
        let bytes = self.message.get(start..self.at).ok_or(Malformed::Truncated)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn advance(&mut self, bytes: usize) -> Result<(), Malformed> {
        if bytes > self.end - self.at {
            return Err(Malformed::Truncated);
        }
        self.at += bytes;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum WireType {
    Varint,
    Fixed64,
    Delimited,
    GroupStart,
    GroupEnd,
    Fixed32,
}
