//! `tgossip explain`: asks a running agent why it considers a member alive, suspected or dead.

use std::io::{self, Write};

use crate::args::ExplainArgs;
use crate::control::client::{Client, until_interrupted};
use crate::error::Error;
use crate::safe::Safe;
use crate::text;

/// The longest line in characters: a probe with eight helpers of the longest ids.
const MAX_LINE_CHARS: usize = 1_500;

pub(crate) fn run(args: &ExplainArgs) -> Result<(), Error> {
    let reasons = until_interrupted(Client::of(&args.ask).reasons(args.id.as_str()))?;
    let mut out = Safe::new(io::stdout().lock(), args.json);
    if args.json {
        serde_json::to_writer_pretty(&mut out, &reasons).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{} says:", text::word(&reasons.node))?;
        for line in reasons.text.lines() {
            writeln!(out, "{}", text::printable(line, MAX_LINE_CHARS))?;
        }
    }
    Ok(out.flush()?)
}
