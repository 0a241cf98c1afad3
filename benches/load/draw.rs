//! What the picture of a QR costs: ours, and that of Node's `qrcode`.

use std::process::Command;

use anyhow::ensure;
use qrcast::qr;

use super::proc;
use super::report::{Section, Spread, row};
use super::servers::peers;

/// Draws so many pictures in each round, taking turns.
pub(crate) fn measure(count: usize, rounds: usize) -> anyhow::Result<Section> {
    let columns = ["", "ms of processor time for a picture, median (least to most)"];
    let mut section = Section::new("A QR drawn, as the PNG of a data URL", &columns);
    let script = peers()?.join("draw.js");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let before = proc::cpu(&[std::process::id()]);
        for number in 0..count {
            std::hint::black_box(qr::data_url(&string(round * count + number)));
        }
        let took = proc::cpu(&[std::process::id()]) - before;
        ours.push(took * 1000.0 / count as f64);
        let output = Command::new("node").arg(&script).arg(count.to_string()).output()?;
        ensure!(output.status.success(), "draw.js: {}", String::from_utf8_lossy(&output.stderr));
        theirs.push(String::from_utf8_lossy(&output.stdout).trim().parse()?);
    }
    section.add(row!["**qrcast**", Spread::of(ours.into_iter())]);
    section.add(row!["Node's `qrcode`", Spread::of(theirs.into_iter())]);
    Ok(section)
}

/// As long as one of the simulator's, another each time.
fn string(number: usize) -> String {
    let key = format!("{number:043}=");
    format!("2@{number:064},{key},{key},{key},1")
}
