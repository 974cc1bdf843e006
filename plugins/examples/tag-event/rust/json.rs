//! A JSON reader and writer of the smallest kind. A value is a piece of the
//! input: nothing is copied, and what stands in it is looked for when it is asked
//! for. The host gives JSON that is valid, so mistakes in it are not looked for.

/// A piece of JSON text; empty when there is none.
#[derive(Clone, Copy)]
pub struct Value<'a>(&'a [u8]);

/// What is behind white space.
fn skip(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|c| b" \t\r\n".contains(c)).count();
    &text[blanks..]
}

/// The length of the string at the beginning of a text.
fn string_len(text: &[u8]) -> usize {
    let mut i = 1;
    while i < text.len() && text[i] != b'"' {
        i += if text[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(text.len())
}

/// The length of the value at the beginning of a text. It counts brackets, so
/// that nothing a server sends can be nested too deep.
fn value_len(text: &[u8]) -> usize {
    let (mut i, mut depth) = (0, 0);
    while i < text.len() {
        match text[i] {
            b'"' => i += string_len(&text[i..]),
            b'{' | b'[' => {
                depth += 1;
                i += 1;
                continue;
            }
            b'}' | b']' => {
                depth -= 1;
                i += 1;
            }
            _ if depth > 0 => {
                i += 1;
                continue;
            }
            _ => i += text[i..].iter().take_while(|c| !b",]} \t\r\n".contains(c)).count(),
        }
        if depth == 0 {
            break;
        }
    }
    i
}

impl<'a> Value<'a> {
    /// The first value of a text.
    pub fn of(text: &'a [u8]) -> Value<'a> {
        let text = skip(text);
        Value(&text[..value_len(text)])
    }

    pub fn exists(self) -> bool {
        !self.0.is_empty()
    }

    /// Also when there is none.
    pub fn is_null(self) -> bool {
        !self.exists() || self.0[0] == b'n'
    }

    pub fn is_number(self) -> bool {
        matches!(self.0.first(), Some(b'-' | b'0'..=b'9'))
    }

    pub fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// The member of an object; of several the last counts.
    pub fn get(self, key: &str) -> Value<'a> {
        let mut found = Value(b"");
        let mut rest = if self.is_object() { skip(&self.0[1..]) } else { b"" };
        while rest.first() == Some(&b'"') {
            let name = Value::of(rest);
            rest = skip(&rest[name.0.len()..]);
            rest = skip(&rest[1..]); // the colon
            let value = Value::of(rest);
            if name.text() == key {
                found = value;
            }
            rest = behind(rest, value);
        }
        found
    }

    pub fn path(self, keys: &[&str]) -> Value<'a> {
        keys.iter().fold(self, |value, key| value.get(key))
    }

    /// The items of a list; none of anything else.
    pub fn items(self) -> Items<'a> {
        Items(if self.0.first() == Some(&b'[') { skip(&self.0[1..]) } else { b"" })
    }

    /// The content of a string, the digits of a number; else empty.
    pub fn text(self) -> String {
        if self.is_number() {
            return String::from_utf8_lossy(self.0).into_owned();
        }
        if self.0.first() != Some(&b'"') {
            return String::new();
        }
        let text = &self.0[1..self.0.len() - 1];
        let mut plain = Vec::with_capacity(text.len());
        let mut i = 0;
        while i < text.len() {
            if text[i] != b'\\' {
                plain.push(text[i]);
                i += 1;
                continue;
            }
            let c = text[i + 1];
            i += 2;
            match c {
                b'b' => plain.push(8),
                b'f' => plain.push(12),
                b'n' => plain.push(b'\n'),
                b'r' => plain.push(b'\r'),
                b't' => plain.push(b'\t'),
                b'u' => {
                    let mut code = hex(&text[i..i + 4]);
                    i += 4;
                    if (0xd800..0xdc00).contains(&code) && text[i..].starts_with(b"\\u") && text.len() >= i + 6 {
                        let low = hex(&text[i + 2..i + 6]);
                        if (0xdc00..0xe000).contains(&low) {
                            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                            i += 6;
                        }
                    }
                    // Half of a pair is no letter.
                    let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                    plain.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                c => plain.push(c),
            }
        }
        String::from_utf8_lossy(&plain).into_owned()
    }
}

fn hex(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |n, c| n << 4 | (*c as char).to_digit(16).unwrap_or(0))
}

/// What is behind a value and its comma.
fn behind<'a>(text: &'a [u8], value: Value) -> &'a [u8] {
    let rest = skip(&text[value.0.len()..]);
    if rest.first() == Some(&b',') {
        skip(&rest[1..])
    } else {
        b""
    }
}

pub struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if matches!(self.0.first(), None | Some(b']')) {
            return None;
        }
        let value = Value::of(self.0);
        self.0 = behind(self.0, value);
        Some(value)
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
