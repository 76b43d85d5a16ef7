import org.ciregistry.Parameters
import org.ciregistry.Plans

/** Finds out what a promotion would do and writes it down; see ciRegistryPlan.txt. */
Map call(Map given = [:]) {
    List own = ['images', 'from', 'to', 'tags', 'promotion', 'atomic', 'referrers', 'force', 'reason', 'validHours', 'save']
    ciRegistryRun.checkParameters('ciRegistryPlan', given, own, [])
    String file = (given.save ?: 'ci-registry-plan.json').toString()
    Map outcome = ciRegistryRun.runTool('ciRegistryPlan', ['plan', '--save=' + file] + argumentsOf(given), given)
    return planned(outcome, file)
}

/** What is promoted, as the commands plan and promote take it. */
List argumentsOf(Map given) {
    return Parameters.option('from', given.from) +
        Parameters.option('to', given.to) +
        Parameters.option('tag', given.tags) +
        Parameters.option('promotion', given.promotion) +
        Parameters.option('atomic', given.atomic) +
        Parameters.flag('referrers', given.referrers) +
        Parameters.option('force', given.force) +
        Parameters.option('reason', given.reason) +
        Parameters.option('valid-hours', given.validHours) +
        ['--'] + Parameters.texts(given.images)
}

/** The outcome without the plan itself, which may be long and is in the file. */
Map planned(Map outcome, String file) {
    Map report = outcome.result
    return outcome + [
        result: null,
        file: file,
        digest: report ? report.digest : null,
        changes: Plans.changes(report),
        lines: Plans.lines(report),
    ]
}
