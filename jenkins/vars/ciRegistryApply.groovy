import org.ciregistry.Parameters
import org.ciregistry.Plans

/** Carries out exactly one plan, on one agent or over several; see ciRegistryApply.txt. */
Map call(Map given = [:]) {
    List own = ['plan', 'expect', 'approvedBy', 'shards', 'label', 'files', 'fresh', 'reports', 'describe']
    ciRegistryRun.checkParameters('ciRegistryApply', given, own, ['plan'])
    int shards = given.shards ? Integer.parseInt(given.shards.toString()) : 1
    String reports = (given.reports ?: 'ci-registry-reports').toString()
    List arguments = Parameters.option('expect', given.expect) + Parameters.option('approved-by', given.approvedBy)
    Map outcome = [:]
    withEnv(['CI_REGISTRY_CAUSE=' + cause()]) {
        outcome = shards > 1 ? distributed(given, arguments, shards, reports) : together(given, arguments, reports)
    }
    publish(reports, given.plan.toString())
    Map totals = Plans.totals(outcome.result)
    if (given.describe != false) {
        describe(totals, outcome)
    }
    if (!outcome.ok && given.failOnError != false) {
        error(outcome.code + ' (exit ' + outcome.exit + '): ' + outcome.message)
    }
    return outcome + [result: null, totals: totals, receipt: reports + '/receipt.json']
}

/** Everything on this agent. */
Map together(Map given, List arguments, String reports) {
    List all = ['apply'] + arguments + filesIn(reports) + Parameters.flag('fresh', given.fresh) +
        ['--', given.plan.toString()]
    return ciRegistryRun.runTool('ciRegistryApply', all, quietly(given))
}

/** Content on several agents at once, then tags on this one, then one receipt out of all. */
Map distributed(Map given, List arguments, int shards, String reports) {
    String id = UUID.randomUUID().toString()
    List files = [given.plan.toString(), (given.config ?: 'ci-registry.yaml').toString()] + Parameters.texts(given.files)
    stash(name: 'ci-registry-plan-' + id, includes: files.join(','))
    Map branches = [:]
    for (int number = 1; number <= shards; number++) {
        branches.put('shard ' + number + ' of ' + shards, shard(given, arguments, number, shards, id))
    }
    Map contents = parallel(branches)
    List tagged = ['apply', '--phase=tags', '--receipt=' + receiptOf(id, 0)] + arguments + ['--', given.plan.toString()]
    Map tags = ciRegistryRun.runTool('ciRegistryApply', tagged, quietly(given))
    Map merged = merge(given, shards, id, reports)
    return worst(tags, new ArrayList(contents.values())) + [result: merged.result ?: tags.result]
}

/** One shard's content, on an agent of its own. */
Closure shard(Map given, List arguments, int number, int shards, String id) {
    return {
        node((given.label ?: '').toString()) {
            unstash('ci-registry-plan-' + id)
            List all = ['apply', '--phase=content', '--shard=' + number + '/' + shards, '--receipt=' + receiptOf(id, number)] +
                arguments + Parameters.flag('fresh', given.fresh) + ['--', given.plan.toString()]
            Map outcome = ciRegistryRun.runTool('ciRegistryApply', all, quietly(given))
            stash(name: 'ci-registry-receipt-' + number + '-' + id, includes: receiptOf(id, number), allowEmpty: true)
            // what was copied is in the receipt
            outcome + [result: null]
        }
    }
}

/** One receipt out of those of the shards and of the tags. */
Map merge(Map given, int shards, String id, String reports) {
    List receipts = []
    for (int number = 0; number <= shards; number++) {
        if (number > 0) {
            unstash('ci-registry-receipt-' + number + '-' + id)
        }
        if (fileExists(receiptOf(id, number))) {
            receipts.add(receiptOf(id, number))
        }
    }
    if (!receipts) {
        return [result: null]
    }
    List all = ['receipt', 'merge'] + filesIn(reports) + ['--'] + receipts
    return ciRegistryRun.runTool('ciRegistryApply', all, [config: given.config, tool: given.tool])
}

/** Tags that were all set need no other word; else a shard that failed says more than the tags that missed it. */
Map worst(Map tags, List contents) {
    if (tags.ok || tags.code == 'partial') {
        return tags
    }
    for (int i = 0; i < contents.size(); i++) {
        if (!contents[i].ok) {
            return contents[i]
        }
    }
    return tags
}

/** The parameters of a run whose failure is told later, when its reports are published. */
Map quietly(Map given) {
    return [credentials: given.credentials, config: given.config, tool: given.tool, failOnError: false]
}

String receiptOf(String id, int number) {
    return 'ci-registry-receipts/' + id + '-' + number + '.json'
}

List filesIn(String reports) {
    return ['--receipt=' + reports + '/receipt.json', '--junit=' + reports + '/junit.xml', '--html=' + reports + '/index.html']
}

/** Why this build runs, for the record; without what an environment could expand. */
String cause() {
    List causes = currentBuild.getBuildCauses()
    return causes ? causes[0].shortDescription.toString().replace('$', '') : ''
}

/** Keep receipt and plan, and show the reports where their plug-ins are installed. */
void publish(String reports, String plan) {
    if (!fileExists(reports + '/receipt.json')) {
        return
    }
    archiveArtifacts(artifacts: reports + '/**,' + plan, fingerprint: true, allowEmptyArchive: true)
    try {
        junit(testResults: reports + '/junit.xml', allowEmptyResults: true)
    } catch (NoSuchMethodError missing) {
        echo('the plug-in junit is not installed: ' + reports + '/junit.xml is only archived')
    }
    try {
        publishHTML(target: [reportName: 'Promotion', reportDir: reports, reportFiles: 'index.html', keepAll: true,
                             alwaysLinkToLastBuild: true, allowMissing: true])
    } catch (NoSuchMethodError missing) {
        echo('the plug-in htmlpublisher is not installed: ' + reports + '/index.html is only archived')
    }
}

/** One line on the build's page. */
void describe(Map totals, Map outcome) {
    String line = 'promotion: ' + (outcome.ok ? Plans.words(totals) : outcome.code + ', ' + Plans.words(totals))
    String before = currentBuild.description
    currentBuild.description = before ? before + '; ' + line : line
}
