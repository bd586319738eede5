//! Objections that take more than one section to see: names that nothing bears, routes that tie,
//! prices that are missing.

use std::collections::BTreeSet;

use weir_core::model::ModelPattern;
use weir_core::operation::{RouteIndex, RouteTable};
use weir_core::plan::{Billing, Target};
use weir_core::policy::{RoutePrice, UsageSource};
use weir_core::price::Price;
use weir_core::usage::Meter;

use super::diagnose::Problem;
use super::file::ConfigFile;
use super::limit::LimitFile;
use super::place::{At, Named, Place};

use super::route::RouteFile;
use super::words::{closest, path_part, quoted};

/// Notes every objection to how the sections of a file go together.
pub(crate) fn check(file: &ConfigFile, problems: &mut Vec<Problem>) {
    let mut checker = Checker { file, problems };
    if file.plans.is_empty() && checker.problems.is_empty() {
        let hint = "add [plans.free] with limits = { read = \"100/hour\" }, or run `weir init`";
        checker.object(Place::default(), "", "there is no plan", hint.to_owned());
    }
    checker.check_upstreams();
    checker.check_ties();
    checker.check_prefix();
    checker.check_classes();
    checker.check_models();
    checker.check_prices();
}

struct Checker<'a> {
    file: &'a ConfigFile,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn object(&mut self, place: Place, path: &str, message: &str, hint: String) {
        self.problems.push(Problem {
            place,
            path: path.to_owned(),
            message: message.to_owned(),
            hint: Some(hint),
            also: None,
        });
    }

    fn check_upstreams(&mut self) {
        let file = self.file;
        let of_routes = file.routes.iter().filter_map(|route| {
            route.upstream.as_ref().map(|name| (format!("{}.upstream", path_of(route)), name))
        });
        let of_models = file.models.iter().filter_map(|model| {
            let name = model.value.upstream.as_ref()?;
            Some((format!("models.{}.upstream", path_part(&model.name.value)), name))
        });
        let known = names(&file.upstreams);
        for (path, name) in of_routes.chain(of_models) {
            if !known.contains(&name.value.as_str()) {
                let message = format!("there is no upstream `{}`", name.value);
                self.object(
                    name.place,
                    &path,
                    &message,
                    name_hint(&name.value, &known, "upstreams"),
                );
            }
        }
    }

    fn check_ties(&mut self) {
        let file = self.file;
        let mut table = RouteTable::default();
        for (index, route) in file.routes.iter().enumerate() {
            let Ok(position) = u16::try_from(index) else {
                let message = format!("more than {} routes", u16::MAX);
                let hint = "let one route with `*` stand for many".to_owned();
                self.object(route.pattern.place, "routes", &message, hint);
                return;
            };
            let Err(tie) = table.insert(&route.pattern.value, RouteIndex(position)) else {
                continue;
            };
            let first = &file.routes[usize::from(tie.first.0)].pattern;
            self.problems.push(Problem {
                place: route.pattern.place,
                path: format!("{}.match", path_of(route)),
                message: format!("answers to the same requests as \"{}\"", first.value),
                hint: Some("name the methods that each of them takes, or remove one".to_owned()),
                also: Some(first.place),
            });
        }
    }

    /// What begins like Weir's own API never reaches a route.
    fn check_prefix(&mut self) {
        let file = self.file;
        let prefix = &file.server.api_prefix;
        for route in &file.routes {
            let path = route.pattern.value.as_str().split_once(' ').map_or("", |(_, path)| path);
            if path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            {
                let message =
                    format!("Weir's own API is below {prefix}, so that no call gets here");
                let hint = "give the API another place: [server] api_prefix = \"/NAME\"".to_owned();
                self.object(
                    route.pattern.place,
                    &format!("{}.match", path_of(route)),
                    &message,
                    hint,
                );
            }
        }
    }

    /// A class is known if it is one of the four, or if both a route and a plan name it.
    fn check_classes(&mut self) {
        let file = self.file;
        let limited: BTreeSet<&str> =
            plan_limits(file).filter_map(|(_, limit)| class_of(limit)).collect();
        let used: BTreeSet<&str> =
            file.routes.iter().map(|route| route.class.value.as_str()).collect();
        let own = |class: &&str| !CLASSES.contains(class);
        for route in file.routes.iter().filter(|route| own(&route.class.value.as_str())) {
            if !limited.contains(route.class.value.as_str()) {
                let known: Vec<&str> = CLASSES.into_iter().chain(limited.iter().copied()).collect();
                let message = format!("no plan knows the class `{}`", route.class.value);
                let hint = match closest(&route.class.value, known.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => {
                        let known = quoted(&CLASSES);
                        format!("use {known}, or limit it in a plan (\"unlimited\" will do)")
                    }
                };
                self.object(
                    route.class.place,
                    &format!("{}.class", path_of(route)),
                    &message,
                    hint,
                );
            }
        }
        for (plan, limit) in plan_limits(file) {
            let Some(class) = class_of(limit).filter(own) else { continue };
            if !used.contains(class) {
                let known: Vec<&str> = CLASSES.into_iter().chain(used.iter().copied()).collect();
                let message = format!("no route has the class `{class}`");
                let hint = match closest(class, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known classes: {}", known.join(", ")),
                };
                let path = format!("plans.{}.limits", path_part(&plan.value));
                self.object(limit.key.place, &path, &message, hint);
            }
        }
    }

    fn check_models(&mut self) {
        let file = self.file;
        let prices = names(&file.prices);
        let by_model = file.routes.iter().any(is_by_model);
        for model in &file.models {
            let name = &model.name;
            let path = format!("models.{}", path_part(&name.value));
            if let Err(error) = ModelPattern::parse(&name.value) {
                let hint = "write \"gpt-4o\", \"gpt-*\" or \"*\"".to_owned();
                self.object(name.place, &path, &error.to_string(), hint);
                continue;
            }
            match &model.value.price {
                Some(price) if !prices.contains(&price.value.as_str()) => {
                    let message = format!("there is no price `{}`", price.value);
                    let hint = name_hint(&price.value, &prices, "prices");
                    self.object(price.place, &format!("{path}.price"), &message, hint);
                }
                None if by_model
                    && !name.value.ends_with('*')
                    && !prices.contains(&name.value.as_str()) =>
                {
                    let message = "the model has no price, and would be refused as not found";
                    let hint = match closest(&name.value, prices.iter().copied()) {
                        Some(near) => format!("did you mean to add price = {near:?}?"),
                        None => {
                            let own = path_part(&name.value);
                            format!("add [prices.{own}], or price = \"NAME\" here")
                        }
                    };
                    self.object(name.place, &path, message, hint);
                }
                _ => {}
            }
        }
    }

    fn check_prices(&mut self) {
        let file = self.file;
        let wallet = file.plans.iter().find(|plan| plan.value.billing == Billing::Wallet);
        let prices = names(&file.prices);
        for route in &file.routes {
            let path = format!("{}.price", path_of(route));
            match &route.price {
                None => {
                    if let Some(plan) = wallet {
                        let plan = &plan.name.value;
                        let message =
                            format!("`price` is missing, and the plan `{plan}` bills by wallet");
                        let hint = "add price = \"model\", the name of a price, or \"free\"";
                        self.object(route.pattern.place, &path, &message, hint.to_owned());
                    }
                }
                Some(At { value: RoutePrice::Free, .. }) => {}
                Some(At { value: RoutePrice::ByModel, place }) if prices.is_empty() => {
                    let message = "there are no prices, so that every model would be refused";
                    let hint = "add [prices.\"MODEL\"] with input_tokens and output_tokens";
                    self.object(*place, &path, message, hint.to_owned());
                }
                Some(At { value: RoutePrice::ByModel, .. }) => {}
                Some(At { value: RoutePrice::Named(name), place }) => {
                    match file.prices.iter().find(|price| *price.name.value == **name) {
                        Some(found) => {
                            if let Some(price) = &found.value {
                                self.check_metered(route, price, *place);
                            }
                        }
                        None => {
                            let known: Vec<&str> =
                                prices.iter().copied().chain(["model", "free"]).collect();
                            let message = format!("there is no price `{name}`");
                            let hint = name_hint(name, &known, "prices");
                            self.object(*place, &path, &message, hint);
                        }
                    }
                }
            }
        }
    }

    /// A price by something that the route does not measure would never charge for it.
    fn check_metered(&mut self, route: &RouteFile, price: &Price, place: Place) {
        let measured = |meter: Meter| match meter {
            Meter::Request | Meter::Image => true,
            Meter::Second => route.usage.value == UsageSource::Duration,
            Meter::Byte => route.usage.value == UsageSource::Bytes,
            Meter::InputTokens
            | Meter::CachedInputTokens
            | Meter::CacheWriteTokens
            | Meter::OutputTokens
            | Meter::ReasoningTokens
            | Meter::AudioInputTokens
            | Meter::AudioOutputTokens => !matches!(
                route.usage.value,
                UsageSource::None | UsageSource::Duration | UsageSource::Bytes
            ),
        };
        let lost: Vec<Meter> = price
            .rates()
            .iter()
            .map(|(meter, _)| meter)
            .filter(|meter| !measured(*meter))
            .collect();
        let Some(first) = lost.first() else { return };
        let usage = match first {
            Meter::Second => "duration",
            Meter::Byte => "bytes",
            _ => "openai",
        };
        let message = format!("charges by {}, which this route does not measure", first.name());
        let hint = format!("add usage = \"{usage}\" to the route, or use another price");
        self.object(place, &format!("{}.price", path_of(route)), &message, hint);
    }
}

fn is_by_model(route: &RouteFile) -> bool {
    matches!(route.price, Some(At { value: RoutePrice::ByModel, .. }))
}

fn plan_limits(file: &ConfigFile) -> impl Iterator<Item = (&At<String>, &LimitFile)> {
    file.plans.iter().flat_map(|plan| {
        let of_keys = plan.value.key_limits.values().flatten();
        plan.value.limits.iter().chain(of_keys).map(|limit| (&plan.name, limit))
    })
}

fn class_of(limit: &LimitFile) -> Option<&str> {
    match &limit.target {
        Some(Target::Class(class)) => Some(class),
        _ => None,
    }
}

fn names<T>(entries: &[Named<T>]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.value.as_str()).collect()
}

fn path_of(route: &RouteFile) -> String {
    format!("routes[{}]", route.pattern.value)
}

fn name_hint(name: &str, known: &[&str], section: &str) -> String {
    match closest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None if known.is_empty() => format!("add [{section}.{}]", path_part(name)),
        None => format!("known: {}", known.join(", ")),
    }
}

/// Classes that need not be introduced.
const CLASSES: [&str; 4] = ["read", "write", "ai", "training"];
