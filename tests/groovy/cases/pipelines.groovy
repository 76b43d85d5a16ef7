// Every Jenkinsfile of pipelines/, with the configuration that stands beside it.
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

File folder = new File(setup.pipelines)
List<File> pipelines = folder.listFiles().findAll { it.name.endsWith('.Jenkinsfile') }.sort()

/** The pipeline's own repository: the example configuration, with addresses of the registries that run here. */
void withExample(Build build, String image = 'amd64') {
    String text = new File(setup.pipelines, 'ci-registry.yaml').text
    setup.registries.each { String name, Map registry ->
        text = text.replace('https://' + name + '.example.org', registry.url)
    }
    build.checkout = { File workspace ->
        new File(workspace, 'ci-registry.yaml').text = text
        // which image the stand-in for docker builds
        new File(workspace, 'which').text = image
        new File(workspace, 'test.sh').text = '#!/bin/sh\necho "testing $1"\ntest -f "$DOCKER_CONFIG/config.json"\n'
        new File(workspace, 'test.sh').executable = true
    }
}

Object runPipeline(Build build, String name, Map parameters = [:], String image = 'amd64') {
    withExample(build, image)
    build.params = parameters
    build.currentBuild.result = null
    return build.run(new File(setup.pipelines, name + '.Jenkinsfile'))
}

test('pipelines: all of them are tested here, load the library, and say how to dry-run') { Build build ->
    assert pipelines*.name*.minus('.Jenkinsfile') == ['build-and-push', 'multi-platform', 'nightly', 'promote', 'rollback']
    for (File file : pipelines) {
        assert file.text.contains("@Library('ci-registry') _")
        assert file.text =~ /(?m)^\/\/ On a laptop/
        assert file.text =~ /(?m)^\/\/   ci-registry .*--dry-run$/
        assert new File(folder, 'jobs.yaml').text.contains('pipelines/' + file.name)
    }
}

test('pipelines: no value meets a shell, and no secret a string') { Build build ->
    for (File file : pipelines) {
        Scan scan = new Scan(file)
        assert scan.calls.findAll { it.name == 'sh' }.every { it.constant } : file.name
        assert scan.calls.findAll { it.name in ['withEnv', 'withCredentials', 'input'] }.every { !it.gstrings } : file.name
    }
}

test('pipelines: build and push') { Build build ->
    String repository = suite.repository()
    runPipeline(build, 'build-and-push', [REPOSITORY: repository])
    String digest = new File(build.published.archive[0], 'digest.txt').text.trim()
    assert suite.digest('dev', repository, 'latest') == digest
    assert suite.digest('dev', repository, build.variable('env').BUILD_NUMBER) == digest
}

test('pipelines: from build to production: refused, approved, approved, rolled back') { Build build ->
    String repository = suite.repository()
    build.answers.add(Build.refusal())
    try {
        runPipeline(build, 'promote', [REPOSITORY: repository, VERSION: '1.0.0'])
        assert false
    } catch (FlowInterruptedException refused) {
        assert build.currentBuild.result == 'ABORTED'
    }
    String first = setup.digests.amd64
    assert suite.digest('dev', repository, 'build-' + build.variable('env').BUILD_NUMBER) == first
    assert suite.digest('staging', repository, '1.0.0') == first
    assert suite.digest('prod', repository, '1.0.0') == null

    build.answers.add('Ann')
    runPipeline(build, 'promote', [REPOSITORY: repository, VERSION: '1.0.0'])
    assert suite.digest('prod', repository, '1.0.0') == first
    assert build.named('input')[-1][1][0].submitter == 'release-managers'

    build.answers.add('Ann')
    runPipeline(build, 'promote', [REPOSITORY: repository, VERSION: '1.1.0'], 'other')
    assert suite.digest('prod', repository, '1.1.0') == setup.digests.other
    assert suite.digest('prod', repository, 'stable') == setup.digests.other

    Map parameters = [IMAGE: 'prod:' + repository + ':stable']
    runPipeline(build, 'rollback', parameters + [DRY_RUN: true])
    assert suite.digest('prod', repository, 'stable') == setup.digests.other
    build.answers.add('Bob; rm -rf "x"')
    runPipeline(build, 'rollback', parameters)
    assert suite.digest('prod', repository, 'stable') == first
    assert suite.digest('prod', repository, '1.1.0') == setup.digests.other
    Map history = build.onAgent {
        checkout scm
        ciRegistryRun(arguments: ['history', parameters.IMAGE], credentials: [prod: 'prod-login'])
    }
    assert history.result.toString().contains('Bob; rm -rf "x"')
    assert build.executorsInUse() == 0
    // no program showed a password, not even where Jenkins would have masked it
    setup.registries.each { String name, Map registry -> assert !build.rawLog.toString().contains(registry.password) }
}

test('pipelines: the ten lines of the README, from build to production') { Build build ->
    String readme = new File(folder.parentFile, 'README.md').text
    File file = new File(setup.work, 'readme.Jenkinsfile')
    file.text = readme.substring(readme.indexOf('```groovy') + 10).tokenize('`')[0]
    assert new Scan(file).calls.findAll { it.name == 'sh' }.every { it.constant }
    withExample(build)
    build.answers.add('Ann')
    build.run(file)
    assert build.named('input')[-1][1][0].submitter == 'release-managers'
    String digest = suite.digest('dev', 'team/app', build.variable('env').BUILD_NUMBER)
    assert digest == setup.digests.amd64
    assert suite.digest('prod', 'team/app', '1.2') == digest
    assert suite.digest('prod', 'team/app', 'stable') == digest
}

test('pipelines: a build of a change request does not reach production') { Build build ->
    withExample(build)
    build.with([CHANGE_ID: '17']) {
        runPipeline(build, 'promote', [REPOSITORY: suite.repository(), VERSION: '1.0.0'])
    }
    assert build.named('input').isEmpty()
    assert build.log.toString().contains('Stage Production skipped')
}

test('pipelines: one image for several platforms') { Build build ->
    String repository = suite.repository()
    runPipeline(build, 'multi-platform', [REPOSITORY: repository, VERSION: '1.0.0'])
    Map outcome = build.onAgent {
        checkout scm
        ciRegistryRun(arguments: ['inspect', 'dev:' + repository + ':1.0.0'], credentials: [dev: 'dev-login'])
    }
    assert outcome.result.platforms.sort() == ['linux/amd64', 'linux/arm64']
}

test('pipelines: nightly over shards') { Build build ->
    Map logins = [dev: 'dev-login', staging: 'staging-login']
    List repositories = (1..3).collect { suite.repository() }
    build.onAgent {
        checkout scm
        for (String repository : repositories) {
            ciRegistryPush(source: 'oci:image', to: 'staging', repository: repository, tags: ['1.1.0', '0.9.0'], credentials: logins)
        }
    }
    runPipeline(build, 'nightly')
    assert repositories.every { suite.digest('prod', it, '1.1.0') == setup.digests.image }
    assert repositories.every { suite.digest('prod', it, '0.9.0') == null }
    runPipeline(build, 'nightly')
    assert build.currentBuild.description.endsWith('nothing to promote')
}

test('pipelines: what they say about laptops is right') { Build build ->
    Map logins = [dev: 'dev-login', staging: 'staging-login', prod: 'prod-login']
    List commands = pipelines.collect { it.readLines().findAll { it =~ /^\/\/   / }*.substring(5) }.flatten()*.trim()
    assert commands.size() >= 9
    String images = setup.repository
    withExample(build)
    build.onAgent {
        checkout scm
        withEnv(['IMAGES=' + images]) { withCiRegistry(credentials: logins) {
            sh 'sed -i "s/, immutable_tags: .*}/}/" ci-registry.yaml'
            sh 'docker buildx build --output type=oci,dest=image.tar .'
            sh 'ci-registry push oci-archive:image.tar --repository team/app --tag 1.2.0 --tag 1.2.0-arm64 --target dev --target staging'
            sh 'cp -r "$IMAGES/other" . && ci-registry push oci:other --repository team/app --tag stable --target prod'
            sh 'ci-registry promote team/app:1.2.0 --from staging --to prod --tag 1.2.0 --tag stable && rm -f image.tar'
            commands.each { sh it }
        } }
    }
    assert suite.digest('dev', 'team/app', 'test') == null
    assert suite.digest('dev', 'team/app', 'multi') == null
}
