Map logins = [dev: 'dev-login', staging: 'staging-login', prod: 'prod-login']

String failureOf(Closure work) {
    try {
        work.call()
    } catch (hudson.AbortException failure) {
        return failure.message
    }
    throw new AssertionError('it did not fail')
}

/** Images with these tags in a new repository of dev. */
String pushed(Build build, List tags, String image = 'image', String repository = suite.repository()) {
    build.onAgent {
        checkout scm
        ciRegistryPush(source: 'oci:' + image, to: 'dev', repository: repository, tags: tags, credentials: [dev: 'dev-login'])
    }
    return repository
}

test('apply: exactly the plan, with receipt, reports, description and cause') { Build build ->
    String repository = pushed(build, ['1'])
    Map outcome = build.onAgent {
        checkout scm
        Map plan = ciRegistryPlan(images: repository + ':1', from: 'dev', to: 'prod', tags: ['1', 'stable'], credentials: logins)
        assert plan.ok && plan.changes == 2 && plan.file == 'ci-registry-plan.json'
        assert plan.lines[0].startsWith('dev:' + repository + ':1 -> prod:' + repository + ':1 (sha256:')
        sh 'sha256sum ci-registry-plan.json > sum'
        assert plan.digest == 'sha256:' + readFile('sum').split(' ')[0]
        ciRegistryApply(plan: plan.file, expect: plan.digest, approvedBy: 'Ann "the boss" $HOME', credentials: logins)
    }
    assert outcome.ok && outcome.totals == [promoted: 2]
    assert suite.digest('prod', repository, 'stable') == setup.digests.image
    Map receipt = new groovy.json.JsonSlurperClassic().parse(new File(build.published.archive[0], outcome.receipt))
    assert receipt.approved_by == 'Ann "the boss" $HOME'
    assert receipt.build.CI_REGISTRY_CAUSE == 'Started by user Ann HOME'
    assert receipt.build.JOB_NAME == 'team/app'
    assert new File(build.published.junit[0], 'ci-registry-reports/junit.xml').text.contains('<testsuite')
    assert new File(build.published.html[0], 'ci-registry-reports/index.html').text.replace('<wbr>', '').contains(repository)
    assert build.currentBuild.description == 'promotion: 2 promoted'
}

test('apply: another file than the one that was approved is refused') { Build build ->
    String repository = pushed(build, ['1'])
    String message = failureOf {
        build.onAgent {
            checkout scm
            Map plan = ciRegistryPlan(images: repository + ':1', from: 'dev', to: 'prod', credentials: logins)
            sh 'echo >> ci-registry-plan.json'
            ciRegistryApply(plan: plan.file, expect: plan.digest, credentials: logins)
        }
    }
    assert message =~ /^\S+ \(exit \d+\): .*sha256:/
    assert suite.digest('prod', repository, '1') == null
}

test('apply: over shards on several agents, tags once, one receipt') { Build build ->
    List repositories = (1..3).collect { pushed(build, ['1']) }
    build.calls.clear()
    Map outcome = build.onAgent {
        checkout scm
        Map plan = ciRegistryPlan(images: repositories.collect { it + ':1' }, from: 'dev', to: ['staging', 'prod'],
                                  save: 'nightly.json', credentials: logins)
        ciRegistryApply(plan: 'nightly.json', expect: plan.digest, shards: 2, label: 'linux && x64', credentials: logins)
    }
    assert outcome.ok && outcome.totals == [promoted: 6]
    assert build.named('node').drop(1).collect { it[1][0] } == ['linux && x64'] * 2
    assert build.named('parallel').size() == 1
    for (String repository : repositories) {
        assert suite.digest('staging', repository, '1') == setup.digests.image
        assert suite.digest('prod', repository, '1') == setup.digests.image
    }
    assert build.published.junit.size() == 1
    // the tags phase moved no bytes: all content had been brought by the shards
    assert build.named('stash').findAll { it[1][0].name.startsWith('ci-registry-receipt') }.size() == 2
}

test('apply: a shard that fails is told, and with an atomic plan no tag moves') { Build build ->
    List repositories = (1..2).collect { pushed(build, ['1']) }
    build.credentials['changed'] = [username: 'prod-user', secret: 'no longer valid']
    String message = failureOf {
        build.onAgent {
            checkout scm
            Map plan = ciRegistryPlan(images: repositories.collect { it + ':1' }, from: 'dev', to: 'prod', credentials: logins)
            ciRegistryApply(plan: plan.file, shards: 2, credentials: logins + [prod: 'changed'])
        }
    }
    assert message.startsWith('access (exit 3): ')
    assert repositories.every { suite.digest('prod', it, '1') == null }
    assert build.currentBuild.description =~ /^promotion: access, /
}

test('apply: a world that changed is a conflict, and its reports are kept without their plug-ins') { Build build ->
    build.missing.addAll(['junit', 'publishHTML'])
    String repository = pushed(build, ['1'])
    Map outcome = build.onAgent {
        checkout scm
        Map plan = ciRegistryPlan(images: repository + ':1', from: 'dev', to: 'prod', credentials: logins)
        ciRegistryPush(source: 'oci:other', to: 'prod', repository: repository, tags: '1', credentials: logins)
        ciRegistryApply(plan: plan.file, credentials: logins, failOnError: false)
    }
    assert [outcome.ok, outcome.code, outcome.exit] == [false, 'conflict', 5]
    assert suite.digest('prod', repository, '1') == setup.digests.other
    assert new File(build.published.archive[0], 'ci-registry-reports/index.html').exists()
    assert build.log.toString().contains('the plug-in htmlpublisher is not installed')
}

test('promote: shown, approved by somebody, applied') { Build build ->
    String repository = pushed(build, ['1'])
    build.answers.add('--force; rm -rf $HOME "Ann"')
    Map outcome = build.run('ciRegistryPromote(images: params.IMAGE, from: "dev", to: ["staging", "prod"], submitter: "managers", ' +
        'label: "linux", message: "Release?", credentials: params.LOGINS)', [IMAGE: repository + ':1', LOGINS: logins])
    assert outcome.ok && outcome.totals == [promoted: 2]
    assert outcome.approver == '--force; rm -rf $HOME "Ann"'
    Map question = build.named('input')[0][1][0]
    assert question.message.startsWith('Release?\ndev:' + repository)
    assert question.message.endsWith('plan ' + outcome.digest)
    assert [question.submitter, question.submitterParameter] == ['managers', 'APPROVER']
    Map receipt = new groovy.json.JsonSlurperClassic().parse(new File(build.published.archive[-1], outcome.receipt))
    assert receipt.approved_by == outcome.approver
    assert receipt.plan == outcome.digest
}

test('promote: nobody is asked when nothing would change') { Build build ->
    String repository = pushed(build, ['1'])
    Map parameters = [IMAGE: repository + ':1', LOGINS: logins]
    String text = 'ciRegistryPromote(images: params.IMAGE, from: "dev", to: "prod", credentials: params.LOGINS)'
    build.answers.add('Ann')
    build.run(text, parameters)
    Map again = build.run(text, parameters)
    assert again.ok && again.changes == 0 && again.approver == null
    assert build.named('input').size() == 1
}

test('promote: inside a node it says why it must not be there') { Build build ->
    assert failureOf { build.onAgent { ciRegistryPromote(images: 'x', from: 'dev', to: 'prod') } } =~ /outside any node/
}

test('index: one image for several platforms') { Build build ->
    String repository = pushed(build, ['amd64'], 'amd64')
    pushed(build, ['arm64'], 'arm64', repository)
    Map outcome = build.onAgent {
        checkout scm
        ciRegistryIndex(image: 'dev:' + repository + ':1', credentials: logins,
                        sources: ['dev:' + repository + ':amd64', 'dev:' + repository + ':arm64'])
    }
    assert outcome.digest == suite.digest('dev', repository, '1')
}
