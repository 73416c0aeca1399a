//! Syntax of nginx's configuration: directives with words and blocks.

use std::{iter::Peekable, str::Chars};

/// Maximum depth of blocks.
const MAX_DEPTH: usize = 32;

/// Directive, such as `limit_req zone=a burst=5;` or `location / { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) line: usize,
    pub(crate) block: Option<Vec<Directive>>,
}

impl Directive {
    pub(crate) fn block(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Returns the argument with this number, or an empty text.
    pub(crate) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// Returns the directive alone.
    pub(crate) fn without_block(&self) -> Directive {
        Directive {
            name: self.name.clone(),
            args: self.args.clone(),
            line: self.line,
            block: None,
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.arg(0).eq_ignore_ascii_case("on")
    }

    /// Returns the line and the directive without its block.
    pub(crate) fn place(&self) -> String {
        format!("line {}: {}", self.line, self.text())
    }

    fn text(&self) -> String {
        let words = std::iter::once(&self.name).chain(&self.args);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// Parses a file whose first line has this number.
///
/// # Errors
/// The line, what was expected, and what was found.
pub(crate) fn parse(text: &str, first_line: usize) -> Result<Vec<Directive>, String> {
    let mut lexer = Lexer {
        chars: text.chars().peekable(),
        line: first_line,
        start: first_line,
    };
    // Directives of the open blocks, and the directives that opened them.
    let mut open: Vec<(Directive, Vec<Directive>)> = Vec::new();
    let mut directives = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut start = first_line;
    loop {
        let token = lexer.token()?;
        let line = lexer.line;
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    start = lexer.start;
                }
                words.push(word);
            }
            Token::Semicolon => {
                let directive = directive(&mut words, start)
                    .ok_or_else(|| format!("line {line}: expected a directive, got ;"))?;
                directives.push(directive);
            }
            Token::Open => {
                let mut directive = directive(&mut words, start)
                    .ok_or_else(|| format!("line {line}: expected a directive, got {{"))?;
                if open.len() >= MAX_DEPTH {
                    return Err(format!(
                        "line {line}: expected at most {MAX_DEPTH} levels of blocks, got more"
                    ));
                }
                if directive.name.ends_with("_by_lua_block") {
                    lexer.skip_block(start)?;
                    directive.block = Some(Vec::new());
                    directives.push(directive);
                } else {
                    open.push((directive, std::mem::take(&mut directives)));
                }
            }
            Token::Close | Token::End if !words.is_empty() => {
                let got = if token == Token::End {
                    "the end of the file"
                } else {
                    "}"
                };
                let name = words.swap_remove(0);
                return Err(format!(
                    "line {start}: {name}: expected ; or {{ after it, got {got}"
                ));
            }
            Token::Close => {
                let Some((mut directive, outer)) = open.pop() else {
                    return Err(format!("line {line}: expected a directive, got }}"));
                };
                directive.block = Some(std::mem::replace(&mut directives, outer));
                directives.push(directive);
            }
            Token::End => {
                return match open.pop() {
                    None => Ok(directives),
                    Some((directive, _)) => Err(format!(
                        "line {}: {}: expected }} at its end, got the end of the file",
                        directive.line, directive.name
                    )),
                };
            }
        }
    }
}

fn directive(words: &mut Vec<String>, line: usize) -> Option<Directive> {
    let mut words = std::mem::take(words).into_iter();
    Some(Directive {
        name: words.next()?,
        args: words.collect(),
        line,
        block: None,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
    End,
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    /// Line of the beginning of the last token.
    start: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let char = self.chars.next();
        if char == Some('\n') {
            self.line += 1;
        }
        char
    }

    fn token(&mut self) -> Result<Token, String> {
        loop {
            self.start = self.line;
            match self.chars.peek() {
                None => return Ok(Token::End),
                Some('#') => while self.next().is_some_and(|char| char != '\n') {},
                Some(char) if char.is_ascii_whitespace() => {
                    self.next();
                }
                Some(';') => {
                    self.next();
                    return Ok(Token::Semicolon);
                }
                Some('{') => {
                    self.next();
                    return Ok(Token::Open);
                }
                Some('}') => {
                    self.next();
                    return Ok(Token::Close);
                }
                Some('"' | '\'') => return self.quoted().map(Token::Word),
                Some(_) => return Ok(Token::Word(self.word())),
            }
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let start = self.line;
        let quote = self.next();
        let mut word = String::new();
        loop {
            match self.next() {
                None => {
                    return Err(format!(
                        "line {start}: expected a quotation mark at the end of the text, got the end of the file"
                    ));
                }
                char if char == quote => return Ok(word),
                Some('\\') => word.extend(self.escaped(quote)),
                Some(char) => word.push(char),
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(&char) = self.chars.peek() {
            let is_variable = char == '{' && word.ends_with('$');
            if char.is_ascii_whitespace() || char == ';' || char == '{' && !is_variable {
                break;
            }
            self.next();
            if char == '\\' {
                word.extend(self.escaped(None));
            } else {
                word.push(char);
            }
        }
        word
    }

    /// Returns the text of an escape: of a quotation mark without its backslash, as for nginx.
    fn escaped(&mut self, quote: Option<char>) -> Vec<char> {
        match self.next() {
            None => vec!['\\'],
            Some('t') => vec!['\t'],
            Some('r') => vec!['\r'],
            Some('n') => vec!['\n'],
            Some(char) if "\"'\\".contains(char) || Some(char) == quote => vec![char],
            Some(char) => vec!['\\', char],
        }
    }

    /// Skips the code of a block of Lua.
    fn skip_block(&mut self, start: usize) -> Result<(), String> {
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                None => {
                    return Err(format!(
                        "line {start}: expected }} at the end of the block, got the end of the file"
                    ));
                }
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                Some('-') if self.chars.peek() == Some(&'-') => {
                    while self.next().is_some_and(|char| char != '\n') {}
                }
                Some(quote @ ('"' | '\'')) => {
                    while let Some(char) = self.next().filter(|char| *char != quote) {
                        if char == '\\' {
                            self.next();
                        }
                        if char == '\n' {
                            break;
                        }
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_have_words_and_blocks() {
        let parsed = parse(
            "http { # a comment; {\n  map $a ${b}c { \"\" 'x \"y\\'';\n default \\.php; }\n}\nuser a;", 1)
        .unwrap();
        assert_eq!(parsed.len(), 2);
        assert_eq!(
            (parsed[1].place(), parsed[1].line),
            ("line 5: user a".to_owned(), 5)
        );
        let map = &parsed[0].block()[0];
        assert_eq!(map.args, ["$a", "${b}c"]);
        assert_eq!(
            (map.block()[0].name.as_str(), map.block()[0].arg(0)),
            ("", "x \"y'")
        );
        assert_eq!(map.block()[1].arg(0), "\\.php");
    }

    #[test]
    fn code_is_skipped() {
        let parsed = parse(
            "content_by_lua_block { if a then b = { '}' } -- it's }\n end }\nlimit_conn a 1;",
            1,
        )
        .unwrap();
        assert_eq!(parsed[1].name, "limit_conn");
    }

    #[test]
    fn errors_name_the_line() {
        for (text, error) in [
            (
                "http {\n server {\n",
                "line 2: server: expected } at its end, got the end of the file",
            ),
            ("a b;\n}", "line 2: expected a directive, got }"),
            (
                "\nlimit_req zone=a",
                "line 2: limit_req: expected ; or { after it, got the end of the file",
            ),
            ("a {\n b c\n}", "line 2: b: expected ; or { after it, got }"),
            (
                "a 'b\nc;",
                "line 1: expected a quotation mark at the end of the text, got the end of the file",
            ),
            ("a;\n;", "line 2: expected a directive, got ;"),
            ("{", "line 1: expected a directive, got {"),
            (
                "a_by_lua_block {",
                "line 1: expected } at the end of the block, got the end of the file",
            ),
        ] {
            assert_eq!(parse(text, 1).unwrap_err(), error);
        }
        assert!(
            parse(&"a {".repeat(1_000_000), 1)
                .unwrap_err()
                .contains("levels of blocks")
        );
    }
}
