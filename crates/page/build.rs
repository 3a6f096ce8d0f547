//! Makes the table of the files under `assets/`: each with its type, its validator, and its
//! bytes compressed once and for all.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("assets");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    walk(&root, &mut files)?;
    files.sort();
    let mut table = String::from("static ASSETS: &[Asset] = &[\n");
    for (number, file) in files.iter().enumerate() {
        println!("cargo::rerun-if-changed={}", file.display());
        let path = file
            .strip_prefix(&root)?
            .to_str()
            .ok_or("a name in UTF-8")?;
        let path = path.replace('\\', "/");
        let media_type = media_type(file)
            .ok_or_else(|| format!("{}: build.rs knows no type for it", file.display()))?;
        let bytes = fs::read(file)?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        let packed = encoder.finish()?;
        // Pictures do not become smaller.
        let gzip = match packed.len() < bytes.len() * 9 / 10 {
            true => {
                let name = format!("{number}.gz");
                fs::write(out.join(&name), packed)?;
                format!("Some(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\")))")
            }
            false => "None".to_owned(),
        };
        writeln!(
            table,
            "    Asset {{ path: {path:?}, media_type: {media_type:?}, etag: {etag:?}, \
             bytes: include_bytes!({file:?}), gzip: {gzip} }},",
            etag = format!("W/\"{:016x}\"", hasher.finish()),
        )?;
    }
    table.push_str("];\n");
    fs::write(out.join("assets.rs"), table)?;
    Ok(())
}

/// All files in a folder and in those in it; what begins with a dot is an editor's.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        match entry.file_type()? {
            _ if hidden => {}
            kind if kind.is_dir() => walk(&entry.path(), files)?,
            _ => files.push(entry.path()),
        }
    }
    Ok(())
}

fn media_type(file: &Path) -> Option<&'static str> {
    Some(match file.extension()?.to_str()? {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}
