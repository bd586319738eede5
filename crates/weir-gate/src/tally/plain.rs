//! The short way for the body that is usual: whole, sound JSON, with its usage in its place.

use crate::json::{Kind, Malformed, Scanner};

/// Why a body needs the longer look.
struct Unusual;

/// The value of a document's last `usage` that is not null. `None` where anything in the document
/// needs the longer look of [`Skim`](super::skim::Skim): it is no sound JSON, tells of an error,
/// may hold images, or tells its usage elsewhere or in another way.
pub(super) fn usage_of(body: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut scan = Scanner::new(body);
    let read = scan.object(|scan, name| {
        let name = name.name();
        if matches!(&*name, b"data" | b"error" | b"response") {
            return Err(Unusual);
        }
        let (kind, start) = (scan.kind()?, scan.at());
        scan.skip()?;
        if &*name == b"usage" && kind != Kind::Null {
            let value = body.get(start..scan.at()).unwrap_or_default();
            found = Some(value).filter(|_| kind == Kind::Object);
            return if found.is_some() { Ok(()) } else { Err(Unusual) };
        }
        Ok(())
    });
    let sound = read.is_ok() && scan.end().is_ok();
    found.filter(|_| sound)
}

impl From<Malformed> for Unusual {
    fn from(_: Malformed) -> Self {
        Self
    }
}
