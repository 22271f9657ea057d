//! `tgossip explain`: asks a running agent why it considers a member alive, suspected or dead.

use std::io::{self, Write};

use crate::args::ExplainArgs;
use crate::control::client;
use crate::error::Error;
use crate::text;

/// The longest line in characters: a probe with eight helpers of the longest ids.
const MAX_LINE_CHARS: usize = 1_500;

pub(crate) fn run(args: &ExplainArgs) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Setup)?;
    let reasons = runtime.block_on(async {
        tokio::select! {
            reasons = client::reasons(&args.via, args.id.as_str()) => reasons,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        }
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &reasons).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{} says:", text::printable(&reasons.node, 127))?;
        for line in reasons.text.lines() {
            writeln!(out, "{}", text::printable(line, MAX_LINE_CHARS))?;
        }
    }
    Ok(out.flush()?)
}
