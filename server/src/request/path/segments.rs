//! Segments of a path, and what a server must do to read each of them.

use std::{fmt, ops::Range};

use super::decode::{Decoded, Escape};

/// Maximum number of segments.
const MAX_SEGMENTS: usize = 64;

/// Maximum number of readings of a path.
pub(super) const MAX_READINGS: usize = 8;

/// Reason to reject a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathError {
    Segments,
    Readings,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::Segments => write!(f, "expected at most {MAX_SEGMENTS} segments"),
            PathError::Readings => write!(
                f,
                "expected a path that servers read in at most {MAX_READINGS} ways"
            ),
        }
    }
}

/// Set of habits in which servers differ.
pub(super) type Habits = u16;

/// Merges slashes.
const MERGES: Habits = 1;
/// Decodes `%2e` before it resolves dot segments.
const DECODES_DOTS: Habits = 1 << 1;
/// Treats `%2F` as `/`.
const DECODES_SLASH: Habits = 1 << 2;
/// Treats `\` as `/`.
const BACKSLASH: Habits = 1 << 3;
/// Treats `%5C` as `/`.
const DECODES_BACKSLASH: Habits = 1 << 4;
/// Decodes `%u002f` and overlong UTF-8.
const DECODES_RARE: Habits = 1 << 5;
/// Decodes twice.
const DECODES_TWICE: Habits = 1 << 6;
/// Removes path parameters (`;x`) and white space at the end of a segment.
const STRIPS: Habits = 1 << 7;
/// Decodes more often than twice.
const DECODES_OFTEN: Habits = 1 << 8;

/// File name extensions of scripts that are executed with the rest of the path as an argument.
const SCRIPTS: [&[u8]; 8] = [
    b".php", b".phtml", b".asp", b".aspx", b".ashx", b".cgi", b".fcgi", b".pl",
];

/// Part of a path between two characters that some server treats as a separator.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Name without path parameters, and without white space and dots at its end.
    pub(super) name: Range<usize>,
    /// End of the segment in the path.
    pub(super) end: usize,
    pub(super) kind: Kind,
    /// Habits without which the separator before the segment is an ordinary character.
    pub(super) separator: Habits,
    /// Habits without which the segment is read literally.
    pub(super) habits: Habits,
    /// It has a path parameter (`;x`). That ends at the next separator, whichever a server knows.
    pub(super) has_parameter: bool,
    /// Some server reads another name.
    pub(super) is_ambiguous: bool,
    /// The path ends here for some server.
    pub(super) may_end: bool,
    /// Name of a script, with more of the path after it.
    pub(super) is_script: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    /// Empty, `.`, or a session id of ASP.NET: some servers drop it.
    Droppable,
    /// `..`
    Parent,
}

impl Segment {
    /// Returns true if some server reads another name, or none.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// Returns true if some server reads the path without the segment.
    pub(crate) fn is_droppable(&self) -> bool {
        self.kind == Kind::Droppable
    }

    /// Returns true if some server takes the segment for the last one.
    pub(crate) fn may_end(&self) -> bool {
        self.may_end
    }
}

/// Segments of a path.
pub(super) struct Segments {
    pub(super) list: Vec<Segment>,
    /// The separator at the end of the path, if there is one.
    pub(super) trailing: Option<Habits>,
    /// Some server removes a part of a name.
    pub(super) is_stripped: bool,
}

/// Segment whose end has not been found.
struct Open {
    start: usize,
    separator: Habits,
    /// Position of the first character that ends the path for some server, or begins a path
    /// parameter.
    cut: Option<usize>,
    /// Habits without which the name is another one.
    habits: Habits,
    has_escape: bool,
}

impl Segments {
    pub(super) fn new(decoded: &Decoded<'_>) -> Result<Segments, PathError> {
        let text = &*decoded.text;
        let mut segments = Segments {
            list: Vec::with_capacity(8),
            trailing: None,
            is_stripped: false,
        };
        let mut escapes = decoded.escapes.iter().copied().peekable();
        let start = usize::from(
            text.first() == Some(&b'/') && escapes.peek().is_none_or(|next| next.position > 0),
        );
        let mut open = Open::new(start, 0);
        let mut at = start;
        loop {
            // After the cut, only the end of the segment matters.
            let found = match open.cut {
                None => find(&text[at..], is_special),
                Some(_) => find(&text[at..], is_separator),
            };
            let index = found.map_or(text.len(), |found| at + found);
            while let Some(escape) = escapes.next_if(|escape| escape.position < index) {
                open.add(escape);
            }
            let Some(&byte) = text.get(index) else { break };
            at = index + 1;
            let escape = escapes.next_if(|escape| escape.position == index);
            match separator(byte, escape) {
                Some(separator) => {
                    segments.push(text, &open, index, Some(separator))?;
                    open = Open::new(at, separator);
                }
                None => {
                    escape.into_iter().for_each(|escape| open.add(escape));
                    open.cut = Some(index);
                }
            }
        }
        if open.start < text.len() {
            segments.push(text, &open, text.len(), None)?;
        } else if open.start > start {
            segments.trailing = Some(open.separator);
        }
        Ok(segments)
    }

    /// Adds a segment that ends before a separator, or at the end of the path.
    fn push(
        &mut self,
        text: &[u8],
        open: &Open,
        end: usize,
        after: Option<Habits>,
    ) -> Result<(), PathError> {
        if self.list.len() == MAX_SEGMENTS {
            return Err(PathError::Segments);
        }
        let content = &text[open.start..open.cut.unwrap_or(end)];
        let mut name = trim(content, |byte| byte <= b' ' || byte == 0x7F);
        let kind = match name {
            b".." => Kind::Parent,
            b"" | b"." => Kind::Droppable,
            _ if is_session_id(name) => Kind::Droppable,
            _ => Kind::Name,
        };
        if kind == Kind::Name {
            // A name of dots only is no other name on any server.
            let trimmed = trim(name, |byte| byte <= b' ' || byte == 0x7F || byte == b'.');
            name = if trimmed.is_empty() { name } else { trimmed };
        }
        let is_stripped = open.cut.is_some() || name.len() != content.len();
        let mut habits = open.habits;
        if is_stripped || name.first() == Some(&b'(') {
            habits |= STRIPS;
        }
        if name.is_empty() {
            habits |= MERGES;
        }
        let is_script = after.is_some() && (is_script(name) || is_script(&text[open.start..end]));
        self.is_stripped |= is_stripped;
        self.list.push(Segment {
            name: open.start..open.start + name.len(),
            end,
            kind,
            separator: open.separator,
            has_parameter: open.cut.is_some_and(|cut| text[cut..end].contains(&b';')),
            habits,
            is_ambiguous: is_stripped
                || open.has_escape
                || kind == Kind::Droppable
                || after.is_some_and(|separator| separator != 0),
            may_end: open.cut.is_some() || is_script,
            is_script,
        });
        Ok(())
    }
}

impl Open {
    fn new(start: usize, separator: Habits) -> Open {
        Open {
            start,
            separator,
            cut: None,
            habits: 0,
            has_escape: false,
        }
    }

    fn add(&mut self, escape: Escape) {
        if self.cut.is_none() {
            self.has_escape = true;
            self.habits |= DECODES_DOTS | decoding(escape);
        }
    }
}

/// Finds the first byte with a property. Bytes without it are skipped in blocks.
fn find(text: &[u8], is_found: impl Fn(u8) -> bool) -> Option<usize> {
    const BLOCK: usize = 32;
    let count = |block: &[u8]| {
        block
            .iter()
            .map(|&byte| u8::from(is_found(byte)))
            .sum::<u8>()
    };
    let has_none = |block: &&[u8]| count(block) == 0;
    let start = BLOCK * text.chunks_exact(BLOCK).take_while(has_none).count();
    let rest = text[start..].iter().position(|&byte| is_found(byte));
    rest.map(|position| start + position)
}

fn is_separator(byte: u8) -> bool {
    (byte == b'/') | (byte == b'\\')
}

/// Returns true for a separator, and for a character that ends the path for some server.
fn is_special(byte: u8) -> bool {
    is_separator(byte) | is_end(byte)
}

/// Returns true for a character that ends the path for some server.
pub(crate) fn is_end(byte: u8) -> bool {
    (byte == b';') | (byte == b'?') | (byte == b'#') | (byte == 0)
}

/// Returns the habits that make the character a separator, or `None` if it never is one.
#[inline]
fn separator(byte: u8, escape: Option<Escape>) -> Option<Habits> {
    match (byte, escape) {
        (b'/', None) => Some(0),
        (b'/', Some(escape)) => Some(DECODES_SLASH | decoding(escape)),
        (b'\\', None) => Some(BACKSLASH),
        (b'\\', Some(escape)) => Some(DECODES_BACKSLASH | decoding(escape)),
        _ => None,
    }
}

/// Returns the habits that it takes to decode an escape, besides that of decoding its character.
fn decoding(escape: Escape) -> Habits {
    let habit = |is_needed: bool, habit: Habits| if is_needed { habit } else { 0 };
    habit(escape.is_rare, DECODES_RARE)
        | habit(escape.depth > 1, DECODES_TWICE)
        | habit(escape.depth > 2, DECODES_OFTEN)
}

fn trim(text: &[u8], is_trimmed: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().rposition(|&byte| !is_trimmed(byte));
    &text[..end.map_or(0, |last| last + 1)]
}

/// Returns true for `(S(id))`, which ASP.NET removes.
fn is_session_id(name: &[u8]) -> bool {
    matches!(name, [b'(', letter, b'(', .., b')', b')'] if letter.is_ascii_alphabetic())
}

fn is_script(name: &[u8]) -> bool {
    let Some(dot) = name.iter().rev().take(6).position(|&byte| byte == b'.') else {
        return false;
    };
    let extension = &name[name.len() - dot - 1..];
    SCRIPTS
        .iter()
        .any(|script| extension.eq_ignore_ascii_case(script))
}
