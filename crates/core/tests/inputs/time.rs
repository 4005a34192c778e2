//! Time passes, and the engine starts again (D8, D9, D12, E4, E7).

use hedgerow_core::*;

use crate::given::{Given, all, report};

#[test]
fn time() {
    let rebooted = Given::acknowledged()
        .after(report(1, ReportStatus::Rebooting))
        .online(1)
        .later(600)
        .named("device 1 has been back from its reboot for 600 s");
    insta::assert_snapshot!(all([
        Given::accepted().later(299).told("time has passed, but not enough", Input::Tick),
        Given::accepted()
            .later(300)
            .named("device 1 was silent for 300 s")
            .told("time has passed", Input::Tick),
        Given::acknowledged()
            .later(86_400)
            .named("device 1 was silent for a day")
            .told("time has passed", Input::Tick),
        rebooted.told("time has passed", Input::Tick),
    ]));
}

#[test]
fn recovery() {
    insta::assert_snapshot!(all([
        Given::started()
            .loaded_again()
            .named("a campaign that was loaded again")
            .told("all presence was told", Input::Recovered),
        Given::asked()
            .loaded_again()
            .named("the engine died while the call to device 1 was under way")
            .told("all presence was told", Input::Recovered),
        Given::acknowledged()
            .loaded_again()
            .named("the engine died while device 1 was at work")
            .told("all presence was told", Input::Recovered),
    ]));
}
