//! The examples of the guides, run as they stand.

#[path = "../examples/property_test.rs"]
mod property_test;

#[test]
fn the_property_of_the_guide_holds() {
    property_test::main();
}
