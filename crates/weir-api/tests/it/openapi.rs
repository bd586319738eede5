//! The OpenAPI documents: as they are kept in `docs/`, and complete.

use std::path::Path;

use serde_json::Value;

use crate::support::Api;

fn kept(name: &str, document: &utoipa::openapi::OpenApi) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let now = document.to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(before == now, "docs/{name} is not what the code says; run with UPDATE_GOLDEN=1");
}

#[test]
fn the_documents_in_docs_are_those_of_the_code() {
    kept("openapi-admin.json", &weir_api::admin::openapi());
    kept("openapi-customer.json", &weir_api::customer::openapi("/weir"));
}

#[test]
fn every_operation_says_who_may_call_it_and_what_an_error_looks_like() {
    for document in [weir_api::admin::openapi(), weir_api::customer::openapi("/weir")] {
        let document: Value = serde_json::to_value(document).unwrap();
        assert!(
            document["openapi"].as_str().unwrap().starts_with("3.1"),
            "{}",
            document["openapi"]
        );
        let mut names = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["security"].is_array(), "{method} {path}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("500"), "{method} {path}");
                for (status, response) in responses {
                    let error = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    let is_error = status.parse::<u16>().unwrap() >= 400;
                    let said = (error == "#/components/schemas/Error", is_error);
                    assert_eq!(said.0, said.1, "{method} {path} {status}");
                }
                let name = operation["operationId"].as_str().unwrap().to_owned();
                assert!(names.insert(name), "{method} {path} has the name of another");
            }
        }
    }
}

#[tokio::test]
async fn the_documents_are_served() {
    let api = Api::start();
    let admin = api.get("/openapi.json").await.expect(200);
    assert_eq!(admin.body, serde_json::to_value(weir_api::admin::openapi()).unwrap());
    let path = "/weir/v1/openapi.json";
    let own = crate::support::call(&api.customer, "GET", path, &[], Value::Null).await.expect(200);
    assert_eq!(own.body, serde_json::to_value(weir_api::customer::openapi("/weir")).unwrap());
}
