//! Calls by tokens in the shapes of three APIs, and the shop that sells them.

use super::plan::Draw;

/// An API, its calls, and where its routes lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// How the path of its calls ends.
    end: &'static str,
    /// What a stream says before its first output, in events.
    pub(super) preamble: usize,
}

impl Shape {
    /// Any of them.
    pub(super) fn draw(draw: &mut Draw) -> Self {
        *draw.of(&SHAPES)
    }

    /// Those that can report usage together with the output that it is of.
    pub(super) fn exact() -> [Self; 2] {
        [SHAPES[0], SHAPES[1]]
    }

    /// The request line of a call: its path has the call's id, so that the upstream counts it alone.
    pub(super) fn line(self, house: &str, id: &str) -> String {
        format!("POST {}", self.path(house, id))
    }

    /// The path of a call.
    pub(super) fn path(self, house: &str, id: &str) -> String {
        format!("/{house}/{id}{}", self.end)
    }

    /// The body of a call, with a bound on its output.
    pub(super) fn body(self, stream: bool, bound: u64) -> String {
        let stream = if stream { r#""stream":true,"# } else { "" };
        match self.end {
            RESPONSES => {
                format!(r#"{{"model":"m",{stream}"max_output_tokens":{bound},"input":"Hi"}}"#)
            }
            _ => format!(r#"{{"model":"m",{stream}"max_tokens":{bound},"messages":[]}}"#),
        }
    }
}

/// A plan without limits whose calls cost 0.001 for each token of output, with a route of each shape
/// for each house; a house is a name and the lines that its routes have more.
pub(super) fn shop(houses: &[(&str, &str)]) -> String {
    let mut config = String::from(
        r#"
[plans.payg]
billing = "wallet"

[prices.m]
output_tokens = "1.00/1k"
"#,
    );
    for (house, more) in houses {
        for Shape { end, .. } in SHAPES {
            let usage = if end == MESSAGES { "anthropic" } else { "openai" };
            config.push_str(&format!(
                "\n[[routes]]\nmatch = \"POST /{house}/*{end}\"\nupstream = \"mock\"\n\
                 usage = \"{usage}\"\nprice = \"m\"\nhold_output_tokens = 100\n{more}\n"
            ));
        }
    }
    config
}

/// What so many tokens of the upstream's prose come to where they are estimated by their bytes.
pub(super) fn estimated(tokens: u64) -> std::ops::RangeInclusive<u64> {
    (tokens * 6 / 10).saturating_sub(2)..=tokens * 2 + 2
}

const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const SHAPES: [Shape; 3] = [
    Shape { name: "chat", end: "/v1/chat/completions", preamble: 1 },
    Shape { name: "responses", end: RESPONSES, preamble: 4 },
    Shape { name: "messages", end: MESSAGES, preamble: 3 },
];
