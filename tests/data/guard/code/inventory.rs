//! Counts what is on the shelves.
use std::collections::HashMap;

#[derive(Debug, Default)]
struct Inventory<'a> {
    on_hand: HashMap<&'a str, u32>,
    once: bool,
}

impl<'a> Inventory<'a> {
    fn count(&mut self, name: &'a str) -> u32 {
        let connection = self.on_hand.entry(name).or_default();
        *connection += 1;
        if let one = *connection && one < 2 { self.once = true; }
        *connection
    }
}
