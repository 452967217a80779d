//! The page for operators and its files, which are part of the binary: plain HTML, style and
//! ECMAScript modules, that need nothing from elsewhere.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use sha2::{Digest, Sha256};

use super::answers::{refused, typed};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// A file by its name below `/page/`; the page itself has none.
const FILES: [(&str, &str, &str); 11] = [
    ("", HTML, include_str!("page/index.html")),
    ("style.css", STYLE, include_str!("page/style.css")),
    ("icon.svg", PICTURE, include_str!("page/icon.svg")),
    ("app.js", SCRIPT, include_str!("page/app.js")),
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("ask.js", SCRIPT, include_str!("page/ask.js")),
    ("chart.js", SCRIPT, include_str!("page/chart.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("format.js", SCRIPT, include_str!("page/format.js")),
    ("history.js", SCRIPT, include_str!("page/history.js")),
    ("tables.js", SCRIPT, include_str!("page/tables.js")),
];

/// What tells these files from those of another version; the same for all of them, since they belong
/// together (RFC 9110, section 8.8.3).
static TAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for (name, _, content) in FILES {
        digest.update(name);
        digest.update(content);
    }
    let digest = digest.finalize();
    let hex: String = digest[..12].iter().map(|it| format!("{it:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
});

/// A file of the page. A browser keeps it, and asks each time whether it still is that one.
pub(super) fn answer(name: Option<&str>, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let name = name.unwrap_or_default();
    let Some((_, content_type, content)) = FILES.iter().find(|(own, ..)| *own == name) else {
        return refused(
            StatusCode::NOT_FOUND,
            "the page has no such file",
            "begin at /",
        );
    };
    let known = headers.get(header::IF_NONE_MATCH) == Some(&*TAG);
    let mut response = typed(content_type, if known { "" } else { *content });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::ETAG, TAG.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_kept() {
        let none = HeaderMap::new();
        let page = answer(None, &none);
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()[header::CONTENT_TYPE], HTML);
        let mut again = HeaderMap::new();
        again.insert(header::IF_NONE_MATCH, page.headers()[header::ETAG].clone());
        let kept = answer(Some("app.js"), &again);
        assert_eq!(kept.status(), StatusCode::NOT_MODIFIED);
        for other in ["../admin.rs", "index.html", "app.js/", "nothing"] {
            assert_eq!(answer(Some(other), &none).status(), StatusCode::NOT_FOUND);
        }
    }

    /// The policy forbids it, and a browser would say so only where somebody looks.
    #[test]
    fn nothing_stands_inline_or_elsewhere() {
        for (name, _, content) in FILES {
            let scripts = content.matches("<script").count();
            assert_eq!(scripts, usize::from(name.is_empty()), "{name}");
            for inline in [
                " style=",
                " onclick=",
                "javascript:",
                "<style",
                "innerHTML",
                "eval(",
            ] {
                assert!(!content.contains(inline), "{name}: {inline}");
            }
            let elsewhere = content.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !elsewhere.contains("http://") && !elsewhere.contains("https://"),
                "{name}"
            );
        }
        for (name, ..) in FILES {
            let (_, _, html) = FILES[0];
            let named = FILES.iter().any(|(_, _, content)| {
                content.contains(&format!("\"./{name}\""))
                    || content.contains(&format!("/page/{name}\""))
            });
            assert!(
                named || name.is_empty(),
                "nothing loads {name}: {}",
                html.len()
            );
        }
    }
}
