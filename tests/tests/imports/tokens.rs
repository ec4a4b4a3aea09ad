//! The words and signs of a source file, without comments and texts.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or keyword.
    Word(String),
    /// `::`
    Colons,
    /// Any other sign.
    Sign(char),
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        match self {
            Self::Word(word) => word == text,
            Self::Colons => text == "::",
            Self::Sign(sign) => text.chars().eq([*sign]),
        }
    }
}

pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        match char {
            '/' if next == Some('/') => at = line_end(&chars, at),
            '/' if next == Some('*') => at = comment_end(&chars, at),
            '"' => at = text_end(&chars, at),
            '\'' => at = quote_end(&chars, at),
            ':' if next == Some(':') => {
                tokens.push(Token::Colons);
                at += 2;
            }
            _ if is_of_word(char) => {
                let end = (at..).find(|end| !chars.get(*end).copied().is_some_and(is_of_word)).unwrap();
                let word: String = chars[at..end].iter().collect();
                at = end;
                if matches!(word.as_str(), "r" | "br") && is_raw(&chars, end) {
                    at = raw_end(&chars, end);
                } else {
                    tokens.push(Token::Word(word));
                }
            }
            _ => {
                if !char.is_whitespace() {
                    tokens.push(Token::Sign(char));
                }
                at += 1;
            }
        }
    }
    tokens
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|char| *char == '\n').map_or(chars.len(), |length| at + length)
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn text_end(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// After a character, or after the quote of a lifetime.
fn quote_end(chars: &[char], at: usize) -> usize {
    match chars[at + 1..] {
        ['\\', ..] => {
            let after = (at + 3..chars.len()).find(|end| chars[*end] == '\'');
            after.map_or(chars.len(), |end| end + 1)
        }
        [_, '\'', ..] => at + 3,
        _ => at + 1,
    }
}

fn hashes(chars: &[char], at: usize) -> usize {
    chars[at..].iter().take_while(|char| **char == '#').count()
}

fn is_raw(chars: &[char], at: usize) -> bool {
    chars.get(at + hashes(chars, at)) == Some(&'"')
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = hashes(chars, at);
    let mut end = at + hashes + 1;
    while end < chars.len() && !(chars[end] == '"' && chars[end + 1..].starts_with(&vec!['#'; hashes])) {
        end += 1;
    }
    end + 1 + hashes
}
