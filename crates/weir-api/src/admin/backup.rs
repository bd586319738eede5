//! The whole store as one file, while it runs.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use tokio::sync::mpsc;
use weir_wire::error::Code;

use crate::problem::Problem;
use crate::settings::App;

/// Sends the whole store as of one moment, as one file that `weir restore` takes. It holds the
/// secrets of webhooks: keep it as you keep the store. Only an owner may ask for it.
#[utoipa::path(post, path = "/backup", tag = "operations", responses(
    (status = 200, description = "The backup.", content_type = "application/octet-stream",
     body = [u8])
))]
pub(crate) async fn backup(State(app): State<App>) -> Result<Response, Problem> {
    let engine = Arc::clone(&app.engine);
    let made = tokio::task::spawn_blocking(move || engine.backup()).await;
    let file = made.map_err(|error| Problem::internal(&error))?.map_err(|error| {
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, why, "a backup could not be made");
        Problem::new(Code::StoreUnavailable, "The backup could not be made; the log says why.")
    })?;
    let length = file.metadata().map_err(|error| Problem::internal(&error))?.len();
    let (tell, told) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || pass_on(file, &tell));
    let pieces = stream::unfold(told, |mut told| async { Some((told.recv().await?, told)) });
    let head = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
        (CONTENT_DISPOSITION, "attachment; filename=\"weir.backup\"".to_owned()),
    ];
    Ok((head, Body::from_stream(pieces)).into_response())
}

/// Reads the file piece by piece, until its end or that of the reader.
fn pass_on(mut file: File, tell: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece);
        let (ended, piece) = match read {
            Ok(count) => (count == 0, Ok(Bytes::from(piece))),
            Err(error) => (true, Err(error)),
        };
        let empty = piece.as_ref().is_ok_and(Bytes::is_empty);
        if (!empty && tell.blocking_send(piece).is_err()) || ended {
            return;
        }
    }
}

const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 4;
