//! The arguments of `tgossip completions` and `tgossip man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Print a script with which a shell completes the commands and options of tgossip.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip completions bash > /usr/share/bash-completion/completions/tgossip
  tgossip completions zsh > /usr/share/zsh/site-functions/_tgossip
  tgossip completions fish > /usr/share/fish/vendor_completions.d/tgossip.fish

Exit codes:
  0    printed
  1    standard output could not be written
  2    wrong arguments")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: Shell,
}

/// Write the manual pages of tgossip, one per command.
///
/// The pages have the same texts as `tgossip help`. Pages of the same names are replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tgossip man /usr/local/share/man/man1

Exit codes:
  0    written
  1    standard output could not be written
  2    wrong arguments
  3    the folder could not be made, or a page could not be written")]
pub(crate) struct ManArgs {
    /// Folder for the pages; made if it is missing.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
