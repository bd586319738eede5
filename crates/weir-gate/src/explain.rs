//! What would become of a request, and why. Nothing is sent, counted or held.
//!
//! The order is [`crate::pipeline`]'s, step by step, by the same functions; the tests of the binary
//! hold both together: what is explained is what the call then gets.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, header};
use serde_json::json;
use weir_core::operation::Lookup;
use weir_core::policy::{Policy, Route};
use weir_core::price::Bound;
use weir_engine::call::Wanted;
use weir_engine::engine::{Engine, Unidentified};
use weir_engine::rehearse::{Explained, Passed, Question, Sized};
use weir_wire::error::Code;
use weir_wire::header as ours;

use crate::ask::{Ask, Endpoint};
use crate::gate::Setup;
use crate::head::check_head;
use crate::intake::{Size, read_ask, reads_body, size, without_body};
use crate::job::Standing;
use crate::out_body::OutBody;
use crate::pipeline::dialect_of;
use crate::priority;
use crate::refuse::{Asked, Context, Dialect, Failure};
use crate::unsent::general_views;

/// The headers that Weir adds to a call that passes, or the answer of one that is refused.
pub type Decided = Result<HeaderMap, Response<Bytes>>;

/// Says what would become of a request now, under this setup.
pub fn explain(engine: &Engine, setup: &Setup, question: &Question) -> Explained<Decided> {
    let mut explained = Explained {
        route: None,
        upstream: None,
        model: None,
        sized: None,
        rehearsal: None,
        answer: Ok(HeaderMap::new()),
    };
    let settings = &setup.shared.settings;
    let policy = engine.policy();
    let head = head_of(question);
    let path = head.as_ref().map_or("", |parts| parts.uri.path());
    let lookup = policy.find_route(&question.method, path);
    let dialect = match &lookup {
        Lookup::Found(index) => policy.route(*index).map(dialect_of).unwrap_or_default(),
        _ => Dialect::Problem,
    };
    let context = Context { request_id: REQUEST_ID, dialect, told: &settings.told };
    let asking = Asking { engine, setup, question, context };
    let decided = match head {
        Ok(parts) => asking.authenticate(&parts, &policy, lookup, &mut explained),
        Err(failure) => Err(failure(&context)),
    };
    explained.answer = decided.map_err(|failure| {
        let mut response = failure.into_response(&context);
        // The request has no id: nobody makes it.
        response.headers_mut().remove(ours::X_REQUEST_ID);
        response
    });
    explained
}

/// A question on its way through the steps.
struct Asking<'a> {
    engine: &'a Engine,
    setup: &'a Setup,
    question: &'a Question,
    context: Context<'a>,
}

impl Asking<'_> {
    /// Key, then route.
    fn authenticate(
        &self,
        parts: &Parts,
        policy: &Arc<Policy>,
        lookup: Lookup,
        explained: &mut Explained<Decided>,
    ) -> Result<HeaderMap, Failure> {
        let Self { engine, question, context, .. } = self;
        let Some(key) = &question.key else {
            return Err(context.unidentified(Unidentified::Unknown));
        };
        let state = key.state.load_full();
        state.key.check_valid(engine.now()).map_err(|invalid| context.invalid_key(invalid))?;
        let without_route = |failure: Failure| {
            let views = general_views(engine, key, &question.method);
            failure.limits(&views, Dialect::Problem, engine.now())
        };
        let index = match lookup {
            Lookup::Found(index) => index,
            Lookup::OtherMethods(methods) => {
                return Err(without_route(context.other_methods(&parts.method, &methods)));
            }
            Lookup::NotFound => {
                return Err(without_route(context.no_route(&parts.method, parts.uri.path())));
            }
        };
        explained.route = Some((Arc::clone(policy), index));
        let Some(route) = policy.route(index) else { return Err(self.changed()) };
        let urgency = priority::of(&parts.headers, state.key.urgency).urgency;
        let mut wanted = Wanted {
            policy,
            index,
            key,
            state: &state,
            model: None,
            urgent: urgency == weir_core::key::Urgency::Critical,
            request_id: REQUEST_ID,
            bound: Bound::text(0, 0),
            output_max: None,
            stream: false,
        };
        let permitted =
            state.key.check_request(&question.method, route.scope.as_deref(), question.address);
        permitted.map_err(|forbids| {
            self.unsent(context.forbidden(forbids, &state.key, &self.asked(route, "")), &wanted)
        })?;
        if let Some(hopeless) = engine.rehearse_peek(&wanted) {
            let refused =
                hopeless.outcome.as_ref().err().map(|refused| context.refused(refused, ""));
            explained.rehearsal = Some(hopeless);
            return Err(refused.unwrap_or_else(|| self.changed()));
        }
        let ask = self.read(parts, route).map_err(|failure| self.unsent(failure, &wanted))?;
        let model = ask.as_ref().and_then(|ask| ask.model.clone());
        explained.model.clone_from(&model);
        wanted.model = model.as_deref();
        if let Some(model) = wanted.model {
            state.key.check_model(model).map_err(|forbids| {
                let asked = self.asked(route, model);
                self.unsent(context.forbidden(forbids, &state.key, &asked), &wanted)
            })?;
        }
        let sized = sized(policy, route, ask.as_ref());
        explained.sized = Some(sized);
        wanted.bound = sized.bound;
        wanted.output_max = sized.output_max;
        wanted.stream = sized.stream;
        let terms = wanted.model.and_then(|model| policy.model(model));
        let name = terms.and_then(|terms| terms.upstream.as_ref()).unwrap_or(&route.upstream);
        if self.setup.upstreams.by_name(name).is_none() {
            let detail = "The upstream is not configured.";
            return Err(context.fail(Code::UpstreamUnreachable, detail));
        }
        explained.upstream = Some(Arc::clone(name));
        self.decide(&wanted, explained)
    }

    /// The decision.
    fn decide(
        &self,
        wanted: &Wanted<'_>,
        explained: &mut Explained<Decided>,
    ) -> Result<HeaderMap, Failure> {
        let rehearsal = self.engine.rehearse(wanted).ok_or_else(|| self.changed())?;
        let rehearsal = explained.rehearsal.insert(rehearsal);
        match &rehearsal.outcome {
            Ok(Passed { views, available, at, clamped, .. }) => {
                let mut headers = HeaderMap::new();
                let standing = Standing { views, at: *at, available: *available, charge: None };
                standing.write(&mut headers, self.context.dialect, *clamped);
                Ok(headers)
            }
            Err(refused) => Err(self.context.refused(refused, wanted.model.unwrap_or_default())),
        }
    }

    /// What the body asks for, if it is read at all.
    fn read(&self, parts: &Parts, route: &Route) -> Result<Option<Ask>, Failure> {
        let context = &self.context;
        let imagined = || reads_body(route).then(|| imagined(self.question)).flatten();
        let given = self.question.body.as_ref().map(|body| Bytes::copy_from_slice(body));
        let Some(bytes) = given.or_else(imagined) else {
            let nothing = OutBody::whole(Bytes::new());
            return without_body(route, context, nothing).map(|taken| taken.ask);
        };
        if !reads_body(route) {
            return Ok(None);
        }
        let mut ask = read_ask(parts, route, &bytes).map_err(|why| context.unreadable(&why))?;
        if let (Some(ask), Some(tokens)) = (&mut ask, self.question.input_tokens) {
            ask.input_tokens = tokens;
        }
        Ok(ask)
    }

    /// A failure before admission, with where the limits stand.
    fn unsent(&self, failure: Failure, wanted: &Wanted<'_>) -> Failure {
        let (views, available, at) = self.engine.standing(wanted);
        failure.limits(&views, self.context.dialect, at).wallet(available)
    }

    fn asked<'a>(&'a self, route: &'a Route, model: &'a str) -> Asked<'a> {
        let Question { method, address, .. } = self.question;
        Asked { method, scope: route.scope.as_deref(), model, address: *address }
    }

    /// The policy changed in between, which a call would look at again.
    fn changed(&self) -> Failure {
        let detail = "The configuration changed in this moment, or the account is gone: ask again.";
        self.context.fail(Code::Conflict, detail)
    }
}

/// The head of the request, or what is wrong with it.
type Headed = Result<Parts, Box<dyn Fn(&Context<'_>) -> Failure>>;

fn head_of(question: &Question) -> Headed {
    let mut request = Request::builder()
        .method(question.method.as_str())
        .uri(question.target.as_str())
        .header(header::HOST, "explained")
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(priority) = &question.priority {
        request = request.header(ours::X_PRIORITY, priority.as_str());
    }
    let request = request.body(()).map_err(|error| -> Box<dyn Fn(&Context<'_>) -> Failure> {
        let detail = format!("This is no request: {error}.");
        Box::new(move |context| context.fail(Code::InvalidRequest, detail.clone()))
    })?;
    let parts = request.into_parts().0;
    match check_head(&parts, None) {
        Ok(()) => Ok(parts),
        Err(refusal) => Err(Box::new(move |context| context.head(refusal))),
    }
}

/// A body that says no more than the question does; `None`: it says nothing.
fn imagined(question: &Question) -> Option<Bytes> {
    let Question { model, input_tokens, output_tokens, .. } = question;
    if model.is_none() && input_tokens.is_none() && output_tokens.is_none() {
        return None;
    }
    let mut body = json!({});
    if let Some(model) = model {
        body["model"] = json!(model);
    }
    if let Some(tokens) = output_tokens {
        let endpoint = Endpoint::of_path(question.target.split('?').next().unwrap_or_default());
        let bound = endpoint.and_then(Endpoint::default_bound);
        body[bound.map_or("max_tokens", |bound| bound.name())] = json!(tokens);
    }
    Some(body.to_string().into())
}

fn sized(policy: &Policy, route: &Route, ask: Option<&Ask>) -> Sized {
    let Size { bound, output_max } = size(policy, route, ask);
    let model = ask.and_then(|ask| ask.model.as_deref());
    Sized {
        bound,
        output_max,
        asked: ask.and_then(Ask::bound).map(|bound| (bound.name.name(), bound.tokens)),
        model_max: model.and_then(|model| policy.model(model)).and_then(|m| m.max_output_tokens),
        step: route.hold_output_tokens,
        stream: ask.is_some_and(|ask| ask.stream),
    }
}

const REQUEST_ID: &str = "explain";
