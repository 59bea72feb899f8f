//! The status page: one file that is compiled in, and the headers that keep it to itself.
//!
//! It may run the script and the style that are in it, known by their hashes, and ask the port that it came from. It
//! loads nothing else, sends nothing, and stands in no frame.

use std::sync::LazyLock;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{Html, IntoResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("page.html");

/// Headers of every answer of the ops port: it is of the moment, and what it says it is.
pub(super) const STRICT: [(HeaderName, HeaderValue); 2] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Answers with the page.
pub(super) async fn page() -> impl IntoResponse {
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(PAGE))
}

/// The policy (CSP level 3) that allows the page and nothing else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source("script"),
        source("style")
    );
    HeaderValue::try_from(policy).expect("base64 and words are ASCII")
});

/// Returns the source expression of the page's one element of this name.
fn source(element: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("<{element}>")).expect("the page has it");
    let (content, _) = rest.split_once(&format!("</{element}>")).expect("it ends");
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever could load something, or run what isn't known.
    #[test]
    fn the_page_is_complete_in_itself() {
        for element in ["<script>", "<style>"] {
            assert_eq!(PAGE.matches(element).count(), 1, "{element}");
        }
        // The name of SVG's namespace is the only address; its icon needs it.
        let page = PAGE.replace("http://www.w3.org/2000/svg", "");
        let never =
            ["<script ", "<style ", " style=", "src=", "http:", "https:", "@import", "url("];
        for never in never {
            assert!(!page.contains(never), "the page has {never}");
        }
    }

    /// Texts of the page come from others: producers, receivers, tenants.
    #[test]
    fn the_page_makes_no_markup_out_of_text() {
        for never in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!PAGE.contains(never), "the page has {never}");
        }
    }
}
