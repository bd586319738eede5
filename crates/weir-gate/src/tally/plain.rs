//! The short way for the body that is usual: whole, sound JSON, with its usage in its place.

use crate::json::{Kind, Malformed, Scanner};

use super::skim::VALUE_BYTES_MAX;

/// Why a body needs the longer look.
struct Unusual;

/// Lets `usage` read the value of a document's one `usage`. False, whatever it has read, where
/// anything in the document needs the longer look of [`Skim`](super::skim::Skim): it is no sound
/// JSON, tells of an error, may hold images, or tells its usage elsewhere or in another way.
pub(super) fn read(
    body: &[u8],
    mut usage: impl FnMut(&mut Scanner<'_>) -> Result<(), Malformed>,
) -> bool {
    let mut found = false;
    let mut scan = Scanner::new(body);
    let read = scan.object(|scan, name| {
        let name = name.name();
        match &*name {
            b"data" | b"error" | b"response" => Err(Unusual),
            b"usage" if scan.kind()? == Kind::Null => Ok(scan.skip()?),
            b"usage" if found || scan.kind()? != Kind::Object => Err(Unusual),
            b"usage" => {
                let start = scan.at();
                usage(scan)?;
                found = true;
                if scan.at() - start > VALUE_BYTES_MAX { Err(Unusual) } else { Ok(()) }
            }
            _ => Ok(scan.skip()?),
        }
    });
    found && read.is_ok() && scan.end().is_ok()
}

impl From<Malformed> for Unusual {
    fn from(_: Malformed) -> Self {
        Self
    }
}
