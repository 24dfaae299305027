//! Writes the wire format of protocol buffers into one buffer.

/// A buffer that grows by fields.
pub(in crate::envoy) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Goes on after what `bytes` holds already.
    pub(in crate::envoy) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(in crate::envoy) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A message, or text that `write` makes with [`Self::raw`].
    ///
    /// Its length is known only afterwards. One byte is kept free for it, which is enough for nearly all; a longer message is
    /// moved up, which costs less than to count it beforehand.
    pub(in crate::envoy) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.key(field, 2);
        let at = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let length = self.bytes.len() - at - 1;
        let (encoded, used) = varint(length as u64);
        match &encoded[..used] {
            [byte] => self.bytes[at] = *byte,
            longer => drop(self.bytes.splice(at..=at, longer.iter().copied())),
        }
    }

    /// Text.
    pub(in crate::envoy) fn text(&mut self, field: u32, text: &str) {
        self.key(field, 2);
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A number or the value of an enum.
    pub(in crate::envoy) fn number(&mut self, field: u32, number: u32) {
        self.key(field, 0);
        self.varint(number.into());
    }

    /// A floating-point number.
    pub(in crate::envoy) fn double(&mut self, field: u32, number: f64) {
        self.key(field, 1);
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// Bytes of the text under way: only inside [`Self::message`].
    pub(in crate::envoy) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint((field << 3 | wire_type).into());
    }

    fn varint(&mut self, number: u64) {
        let (encoded, used) = varint(number);
        self.bytes.extend_from_slice(&encoded[..used]);
    }
}

/// A number in base 128, least significant digit first; and how many of the bytes it takes.
fn varint(mut number: u64) -> ([u8; 10], usize) {
    let mut encoded = [0; 10];
    let mut used = 0;
    while number >= 0x80 {
        encoded[used] = (number & 0x7f) as u8 | 0x80;
        number >>= 7;
        used += 1;
    }
    encoded[used] = number as u8;
    (encoded, used + 1)
}
