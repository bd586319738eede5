//! `POST explain`: what would become of a call, and why.

use axum::extract::State;
use axum::response::Response;
use weir_wire::error::Code;

use crate::answer::Shown;
use crate::problem::Problem;
use crate::request::Body;
use crate::settings::App;
use crate::shape::explain::{ExplanationShape, QuestionShape};

/// What would become of a call now: every limit and price that applies and where it comes from,
/// what would be held, and the answer. It is decided as a call is, and nothing is changed.
#[utoipa::path(post, path = "/explain", tag = "operations", request_body = QuestionShape,
    responses((status = 200, description = "What would become of it.", body = ExplanationShape)))]
pub(crate) async fn explain(
    State(app): State<App>,
    Body(asked): Body<QuestionShape>,
) -> Result<Response, Problem> {
    let Some(explainer) = &app.settings.explainer else {
        return Err(Problem::new(Code::Conflict, "This process has no data plane."));
    };
    let question = asked.question(&app.engine)?;
    let explained = explainer.explain(&question);
    let shape = ExplanationShape::of(&explained, &question, &app.engine);
    Ok(Shown::plain(shape).changed(app.engine.now()))
}
