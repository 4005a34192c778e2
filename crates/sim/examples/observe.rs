fn main() {
    let file = std::env::args().nth(1).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let scenario: hedgerow_sim::scenario_runner::Scenario = serde_json::from_str(&text).unwrap();
    let log = hedgerow_sim::scenario_runner::run(&scenario, std::sync::Arc::new(hedgerow_engine::store::memory::MemoryStore::new())).unwrap();
    println!("{}", serde_json::json!({"format":"ota-campaign-observation/1","scenario":scenario.id,"engine":"hedgerow 0.1.0","log":log}));
}
