//! The time of each piece of a check: `cargo bench --bench check`, or all of it with `make bench`.

mod work;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for mut piece in work::pieces() {
        let mut group = criterion.benchmark_group(piece.group);
        group.bench_function(&piece.name, |bencher| bencher.iter(&mut piece.run));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = all
}
criterion_main!(benches);
