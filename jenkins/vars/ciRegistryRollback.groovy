import org.ciregistry.Parameters
import org.ciregistry.Plans

/** Puts a tag back to what it held before; see ciRegistryRollback.txt. */
Map call(Map given = [:]) {
    List own = ['image', 'digest', 'force', 'reason', 'approvedBy', 'dryRun']
    ciRegistryRun.checkParameters('ciRegistryRollback', given, own, ['image'])
    List arguments = ['rollback'] +
        Parameters.option('digest', given.digest) +
        Parameters.option('force', given.force) +
        Parameters.option('reason', given.reason) +
        Parameters.option('approved-by', given.approvedBy) +
        Parameters.flag('dry-run', given.dryRun) +
        ['--', given.image.toString()]
    Map outcome = ciRegistryRun.runTool('ciRegistryRollback', arguments, given)
    return outcome + [totals: Plans.totals(outcome.result)]
}
