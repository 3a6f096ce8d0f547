//! What a program did on the stand-in.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// One work of a stream: a copy, a kernel, an inference. Times are nanoseconds.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: u64,
    pub device: u64,
    pub stream: u64,
    /// `upload`, `download`, `copy`, `fill`, `kernel`, `infer`, `profile`, `host`, and what
    /// takes no time: `record`, `wait`, `free`.
    pub kind: String,
    /// The kernel's name, the engine's tower, `pinned` or `pageable`.
    pub label: String,
    pub bytes: u64,
    pub rows: u64,
    /// Which launch of a graph it was part of; 0 for none.
    pub graph_launch: u64,
    pub enqueued: u64,
    pub begin: u64,
    pub end: u64,
    /// 0, or the CUDA error that it ended with.
    pub result: u64,
}

/// All lines of a trace.
#[derive(Debug)]
pub struct Trace {
    records: Vec<Value>,
}

impl Trace {
    /// Reads the file that a program wrote when it ended.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|e| panic!("no trace at {}: {e}", path.display()));
        Self::parse(&text)
    }

    pub(super) fn parse(text: &str) -> Self {
        let records = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        Self { records }
    }

    /// The lines of one sort: `race`, `misuse`, `illegal_address`, `failed_call`, `broken`,
    /// `fault`, `leak`.
    pub fn records(&self, sort: &str) -> Vec<&Value> {
        self.records
            .iter()
            .filter(|record| record["record"] == sort)
            .collect()
    }

    /// The works of one kind, in the order in which they were enqueued.
    pub fn operations(&self, kind: &str) -> Vec<Operation> {
        let number = |record: &Value, key: &str| {
            record[key]
                .as_u64()
                .unwrap_or_else(|| panic!("no {key} in {record}"))
        };
        let word = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let mut found: Vec<Operation> = self
            .records("operation")
            .into_iter()
            .filter(|record| record["kind"] == kind)
            .map(|record| Operation {
                id: number(record, "id"),
                device: number(record, "device"),
                stream: number(record, "stream"),
                kind: word(record, "kind"),
                label: word(record, "label"),
                bytes: number(record, "bytes"),
                rows: number(record, "rows"),
                graph_launch: number(record, "graph_launch"),
                enqueued: number(record, "enqueued"),
                begin: number(record, "begin"),
                end: number(record, "end"),
                result: number(record, "result"),
            })
            .collect();
        found.sort_by_key(|operation| operation.id);
        found
    }

    /// Fails unless the program used the device rightly and gave everything back.
    pub fn assert_clean(&self) {
        self.assert_no("race");
        self.assert_no("misuse");
        self.assert_no("illegal_address");
        self.assert_no("leak");
    }

    /// Fails when there are lines of this sort.
    pub fn assert_no(&self, sort: &str) {
        let found = self.records(sort);
        assert!(found.is_empty(), "{sort}: {found:#?}");
    }
}
