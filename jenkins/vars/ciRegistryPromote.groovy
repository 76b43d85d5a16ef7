import org.ciregistry.Parameters

/** Plan, approval, and apply of exactly what was approved; see ciRegistryPromote.txt. */
Map call(Map given = [:]) {
    List own = ['images', 'from', 'to', 'tags', 'promotion', 'atomic', 'referrers', 'force', 'reason', 'shards', 'label',
                'files', 'stash', 'submitter', 'message', 'approvalHours']
    ciRegistryRun.checkParameters('ciRegistryPromote', given, own, [])
    if (env.WORKSPACE) {
        error('ciRegistryPromote: call it outside any node (agent none), for it waits for people and holds no executor')
    }
    String id = 'ci-registry-promotion-' + UUID.randomUUID().toString()
    Map plan = planned(given, id)
    if (!plan.ok || plan.changes == 0) {
        return plan + [approver: null, totals: [:]]
    }
    String approver = approved(given, plan)
    return applied(given, plan, approver, id) + [approver: approver, digest: plan.digest]
}

/** Make the plan on an agent and keep it for the apply. */
Map planned(Map given, String id) {
    Map plan = [:]
    node((given.label ?: '').toString()) {
        if (given.stash) {
            unstash(given.stash.toString())
        } else {
            checkout(scm)
        }
        Map wanted = shared(given)
        for (String name : ['images', 'from', 'to', 'tags', 'promotion', 'atomic', 'referrers', 'force', 'reason']) {
            if (given.get(name) != null) {
                wanted.put(name, given.get(name))
            }
        }
        plan = ciRegistryPlan(wanted)
        if (plan.ok) {
            archiveArtifacts(artifacts: plan.file, fingerprint: true)
            stash(name: id, includes: ([plan.file, configOf(given)] + Parameters.texts(given.files)).join(','))
        }
    }
    return plan
}

/** Ask people, while no executor is held; the name of who approved. */
String approved(Map given, Map plan) {
    String message = (given.message ?: 'Promote?') + '\n' + plan.lines.join('\n') + '\nplan ' + plan.digest
    Map question = [message: message, ok: 'Promote', submitterParameter: 'APPROVER']
    if (given.submitter) {
        question.put('submitter', given.submitter.toString())
    }
    Object answer = null
    timeout(time: Integer.parseInt((given.approvalHours ?: 24).toString()), unit: 'HOURS') {
        answer = input(question)
    }
    return ((answer instanceof Map) ? answer.get('APPROVER') : answer).toString()
}

/** Carry out the plan that was shown, and no other. */
Map applied(Map given, Map plan, String approver, String id) {
    Map outcome = [:]
    node((given.label ?: '').toString()) {
        unstash(id)
        Map wanted = shared(given) + [plan: plan.file, expect: plan.digest, approvedBy: approver]
        for (String name : ['shards', 'label', 'files']) {
            if (given.get(name) != null) {
                wanted.put(name, given.get(name))
            }
        }
        outcome = ciRegistryApply(wanted)
    }
    return outcome
}

Map shared(Map given) {
    Map found = [:]
    for (String name : Parameters.COMMON) {
        if (given.get(name) != null) {
            found.put(name, given.get(name))
        }
    }
    return found
}

String configOf(Map given) {
    return (given.config ?: 'ci-registry.yaml').toString()
}
