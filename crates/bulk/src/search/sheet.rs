//! A page with the pictures that were found.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Hit;
use crate::archive;
use crate::sources::picture_of_row;

/// Bytes that a picture from a tar or a table may have to be put into the page.
const LARGEST_INSIDE: u64 = 16 << 20;

/// Bytes of all pictures that are put into the page.
const ALL_INSIDE: u64 = 256 << 20;

/// A page of what was found. Pictures in files are linked to where they are; those in tars
/// and tables are put into the page, as long as there is room.
pub fn sheet(query: &str, hits: &[Hit]) -> String {
    let mut room = ALL_INSIDE;
    let mut page = String::new();
    let title = escaped(query);
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n\
         body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; color-scheme: light dark }}\n\
         main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: 1rem }}\n\
         figure {{ margin: 0 }}\n\
         img {{ width: 100%; aspect-ratio: 1; object-fit: contain; background: #8882 }}\n\
         figcaption {{ overflow-wrap: anywhere }}\n\
         b {{ font-variant-numeric: tabular-nums }}\n\
         </style>\n<h1>{title}</h1>\n<main>\n"
    );
    for hit in hits {
        let id = escaped(hit.id());
        let texts = ["text", "caption"];
        let text = texts
            .iter()
            .find_map(|name| hit.columns.get(*name)?.as_str());
        let text = escaped(text.unwrap_or_default());
        let image = source(hit.id(), &mut room).map_or(String::new(), |source| {
            format!("<a href=\"{source}\"><img loading=\"lazy\" alt=\"{id}\" src=\"{source}\"></a>")
        });
        let _ = writeln!(
            page,
            "<figure>{image}<figcaption><b>{:.4}</b> {id}<br>{text}</figcaption></figure>",
            hit.score
        );
    }
    page.push_str("</main>\n");
    page
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Where a page finds a row's picture, if there is one. What is put into the page takes from
/// the room.
fn source(id: &str, room: &mut u64) -> Option<String> {
    let path = Path::new(id);
    if path.is_file() {
        let path = path.canonicalize().ok()?;
        let mut url = "file://".to_owned();
        for &byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b'~' => url.push(byte.into()),
                byte if byte.is_ascii_alphanumeric() => url.push(byte.into()),
                byte => {
                    let _ = write!(url, "%{byte:02X}");
                }
            }
        }
        return Some(url);
    }
    let bytes = inside(id).filter(|bytes| bytes.len() as u64 <= *room)?;
    *room -= bytes.len() as u64;
    Some(format!("data:image;base64,{}", STANDARD.encode(bytes)))
}

/// The picture of a row that is named after a tar or a table.
fn inside(id: &str) -> Option<Vec<u8>> {
    // A member of a tar is named TAR/MEMBER, a row of a table TABLE#ROW.
    let path = Path::new(id);
    if let Some(tar) = path.ancestors().skip(1).find(|part| part.is_file()) {
        return member_of(tar, path.strip_prefix(tar).ok()?);
    }
    let (table, row) = id.rsplit_once('#')?;
    let bytes = picture_of_row(Path::new(table), row.parse().ok()?)?;
    Some(bytes).filter(|bytes| bytes.len() as u64 <= LARGEST_INSIDE)
}

fn member_of(path: &Path, name: &Path) -> Option<Vec<u8>> {
    let name = name.as_os_str().as_encoded_bytes();
    let mut found = None;
    let read = archive::members_of_file(File::open(path).ok()?, |member| {
        let member_name = member.name();
        let bare = member_name.strip_prefix(b"./").unwrap_or(&member_name);
        if bare != name || member.size() > LARGEST_INSIDE {
            return Ok(true);
        }
        let mut bytes = Vec::new();
        member.take(LARGEST_INSIDE).read_to_end(&mut bytes)?;
        found = Some(bytes);
        Ok(false)
    });
    read.ok()?;
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a \"<b>\" #1.png");
        std::fs::write(&path, b"x").unwrap();
        let id = Value::from(path.to_string_lossy().into_owned());
        let hit = Hit {
            score: 0.5,
            columns: Map::from_iter([("id".to_owned(), id)]),
        };
        let page = sheet("<script>", &[hit]);
        assert!(page.contains("a%20%22%3Cb%3E%22%20%231.png"), "{page}");
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
        assert!(!page.contains("<b>\""));
    }

    fn page_of(ids: &[String]) -> String {
        let hits: Vec<Hit> = ids
            .iter()
            .map(|id| Hit {
                score: 0.5,
                columns: Map::from_iter([("id".to_owned(), Value::from(id.clone()))]),
            })
            .collect();
        sheet("a query", &hits)
    }

    #[test]
    fn pictures_in_tars_and_tables_are_put_into_the_page() {
        let folder = tempfile::tempdir().unwrap();
        let tar = folder.path().join("a.tar");
        let mut builder = tar::Builder::new(File::create(&tar).unwrap());
        for (name, bytes) in [("0.png", b"zero"), ("1.png", b"ones")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        builder.finish().unwrap();
        let table = folder.path().join("b.parquet");
        let column: ArrayRef = Arc::new(BinaryArray::from_iter([Some("two"), None, Some("four")]));
        let labels: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "z"]));
        let batch = RecordBatch::try_from_iter([("text", labels), ("jpg", column)]).unwrap();
        let file = File::create(&table).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (tar, table) = (tar.display(), table.display());
        let image = |bytes: &str| format!("src=\"data:image;base64,{}\"", STANDARD.encode(bytes));
        for (id, shown) in [
            (format!("{tar}/1.png"), Some("ones")),
            (format!("{table}#0"), Some("two")),
            (format!("{table}#2"), Some("four")),
            // Null, no row, no number, no such member, no such table.
            (format!("{table}#1"), None),
            (format!("{table}#3"), None),
            (format!("{table}#x"), None),
            (format!("{tar}/2.png"), None),
            (format!("{table}x#0"), None),
        ] {
            let page = page_of(std::slice::from_ref(&id));
            match shown {
                Some(bytes) => assert!(page.contains(&image(bytes)), "{id}: {page}"),
                None => assert!(!page.contains("<img"), "{id}: {page}"),
            }
        }
        // What does not fit any more is left out.
        let mut room = 5;
        assert!(source(&format!("{tar}/0.png"), &mut room).is_some());
        assert!(source(&format!("{table}#0"), &mut room).is_none());
        assert_eq!(room, 1);
    }
}
