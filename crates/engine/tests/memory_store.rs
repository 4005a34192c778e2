//! The store in memory does what every store must do, and is one store behind all its handles.

use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::conformance::{append, block_on, event, stream, tenant};
use hedgerow_engine::store::memory::MemoryStore;

hedgerow_engine::store_conformance_tests!((MemoryStore::new(), ()));

mod retention {
    use super::*;

    hedgerow_engine::retention_conformance_tests!((MemoryStore::new(), ()));
}

#[test]
fn a_clone_is_a_handle_to_the_same_store() {
    let store = MemoryStore::new();
    let handle = store.clone();
    block_on(store.append(vec![append(stream(1), 0, vec![event(1)])])).expect("appended");
    drop(store);
    let read = block_on(handle.read_stream(&tenant(), stream(1), 0, 10)).expect("read");
    assert_eq!(read.len(), 1);
}
