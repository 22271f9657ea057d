//! Handing over to `tgossip-agent`.
//!
//! A node runs for months beside the work of its host, and the pages of a program that were touched
//! once stay resident: with the simulator, the plots and the rest of `tgossip` around it, a node
//! takes a quarter more memory than it needs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files of one build are not further apart: an older program beside this one is of another build,
/// and says and does other things.
const ONE_BUILD: Duration = Duration::from_secs(60);

/// Becomes the program `tgossip-agent` beside this one, with the same arguments, under the same
/// process id. Returns if there is none of the same build, or where processes cannot do that: then
/// the agent runs within this program.
pub(crate) fn hand_over() {
    let Ok(own) = std::env::current_exe() else { return };
    if let Some(lean) = beside(&own) {
        // `tgossip agent ...`: no option stands before the subcommand.
        become_program(&lean, std::env::args_os().skip(2));
    }
}

fn beside(own: &Path) -> Option<PathBuf> {
    let lean = own.with_file_name(format!("tgossip-agent{}", std::env::consts::EXE_SUFFIX));
    let made = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    let (own, other) = (made(own)?, made(&lean)?);
    let apart = own.duration_since(other).unwrap_or_else(|later| later.duration());
    (apart <= ONE_BUILD).then_some(lean)
}

#[cfg(unix)]
fn become_program(program: &Path, arguments: impl Iterator<Item = OsString>) {
    use std::os::unix::process::CommandExt;
    // It returns only if it fails, and then nothing has happened.
    let _ = std::process::Command::new(program).args(arguments).exec();
}

#[cfg(not(unix))]
fn become_program(_: &Path, _: impl Iterator<Item = OsString>) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::SystemTime;

    #[test]
    fn only_a_program_of_the_same_build_is_handed_over_to() {
        let folder = std::env::temp_dir().join(format!("tgossip-lean-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (own, lean) = (
            folder.join("tgossip"),
            folder.join(format!("tgossip-agent{}", std::env::consts::EXE_SUFFIX)),
        );
        let now = SystemTime::now();
        File::create(&own).unwrap().set_modified(now).unwrap();
        assert_eq!(beside(&own), None, "there is none");
        let file = File::create(&lean).unwrap();
        for (apart, found) in [(0, true), (30, true), (90, false)] {
            for time in [now - Duration::from_secs(apart), now + Duration::from_secs(apart)] {
                file.set_modified(time).unwrap();
                assert_eq!(beside(&own), found.then(|| lean.clone()), "{apart} s apart");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
