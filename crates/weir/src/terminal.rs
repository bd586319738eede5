//! What the terminal can show, if there is one.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::termios::{Winsize, tcgetwinsize};

/// Whether colours are shown there: on a terminal, unless `NO_COLOR` says otherwise.
pub(crate) fn has_colour(stream: &impl IsTerminal) -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !unwanted
}

/// How many characters fit into a line there; `None`: as many as there are.
pub(crate) fn width(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    size(stream).map(|size| usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// How many lines it shows; `None`: as many as there are.
pub(crate) fn height(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    size(stream).map(|size| usize::from(size.ws_row)).filter(|height| *height > 0)
}

fn size(stream: &(impl IsTerminal + AsFd)) -> Option<Winsize> {
    stream.is_terminal().then(|| tcgetwinsize(stream).ok()).flatten()
}

/// A text in which nothing is left that a terminal would take for a command.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_text_cannot_command_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\nc\u{9b}d"), "a [2Jb  c d");
    }
}
