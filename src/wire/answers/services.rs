//! Who offers what, and what a call has brought.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::{
    Body, CallAnswer, Instance, Json, MAX_METHODS, MAX_SERVICES, Place, ServerId, ServiceName, ServiceOffer,
};

use super::jobs::there;

/// The offers in a list of names and objects. What is neither is left out, and so is what is too many.
pub(in crate::wire) fn offers(text: &str) -> Vec<ServiceOffer> {
    let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    items.into_iter().filter_map(|item| offer(item.get())).take(MAX_SERVICES).collect()
}

fn offer(text: &str) -> Option<ServiceOffer> {
    #[derive(Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct Offer<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        methods: Option<Vec<String>>,
        idempotent: Option<Vec<String>>,
    }
    if let Ok(name) = serde_json::from_str::<String>(text) {
        return Some(ServiceOffer { name: ServiceName::new(name)?, methods: Vec::new(), idempotent: Vec::new() });
    }
    let offer: Offer = serde_json::from_str(text).ok()?;
    let names = |texts: Option<Vec<String>>| -> Vec<ServiceName> {
        texts.unwrap_or_default().into_iter().filter_map(ServiceName::new).take(MAX_METHODS).collect()
    };
    let (methods, idempotent) = (names(offer.methods), names(offer.idempotent));
    Some(ServiceOffer { name: ServiceName::new(offer.name)?, methods, idempotent })
}

/// The answer to `CALL`: a result, or the instances.
pub(in crate::wire) fn call(text: &str) -> Option<Body> {
    #[derive(Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct Answer<'a> {
        server_id: Option<String>,
        #[serde(borrow)]
        instances: Option<Vec<One<'a>>>,
        #[serde(borrow, default, deserialize_with = "there")]
        result: Option<&'a RawValue>,
        served_by: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct One<'a> {
        server_id: String,
        name: String,
        #[serde(borrow, rename = "WHERE")]
        place: Cow<'a, str>,
        #[serde(borrow)]
        services: Option<&'a RawValue>,
    }
    let answer: Answer = serde_json::from_str(text).ok()?;
    if let Some(result) = answer.result {
        let served_by = ServerId::new(answer.served_by?)?;
        return Some(Body::CallAnswer(Box::new(CallAnswer { result: Json::trusted(result.get()), served_by })));
    }
    let instance = |one: One| {
        Some(Instance {
            server_id: ServerId::new(one.server_id)?,
            name: one.name,
            place: Place::parse(&one.place)?,
            services: one.services.map(|services| offers(services.get())).unwrap_or_default(),
        })
    };
    let instances = answer.instances?.into_iter().map(instance).collect::<Option<_>>()?;
    Some(Body::CallsAnswer { server_id: ServerId::new(answer.server_id?)?, instances })
}
