//! Runs one piece of a check a number of times, for callgrind to count its instructions: they repeat within a fraction of a
//! percent on a machine where times do not. `scripts/instructions.py` runs it.
//!
//! Without arguments it lists the pieces; with a name and a number it runs that one, and everything is built beforehand.

mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo passes `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let mut pieces = work::pieces();
    let named = |piece: &work::Piece| format!("{}/{}", piece.group, piece.name);
    let [name, times] = &words[..] else {
        pieces.iter().for_each(|piece| println!("{}", named(piece)));
        return ExitCode::SUCCESS;
    };
    let (Some(piece), Ok(times)) = (
        pieces.iter_mut().find(|piece| named(piece) == *name),
        times.parse::<u64>(),
    ) else {
        eprintln!("instructions: no such piece, or no number");
        return ExitCode::from(2);
    };
    (0..times).for_each(|_| (piece.run)());
    ExitCode::SUCCESS
}
